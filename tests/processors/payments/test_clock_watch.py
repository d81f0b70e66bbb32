"""The watch over the database's clock: which readings are a step, and since when the clock runs evenly."""

from datetime import UTC, datetime, timedelta

import pytest

from processors.payments.clock_watch import STEP_SECONDS_MIN, ClockWatch

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


class Readings:
    """Readings of a database's clock, which may be set, and takes some time to be read."""

    def __init__(self) -> None:
        self.now = 100.0
        self.offset = 0.0
        self.watch = ClockWatch(steady=lambda: self.now)

    def read(self, *, after: float = 1.0, takes: float = 0.0) -> bool:
        """Let time pass, and read the clock in the middle of the round trip."""
        self.now += after
        sent = self.now
        self.now += takes
        clock = START + timedelta(seconds=self.offset + sent + takes / 2)
        return self.watch.read(clock, sent=sent)


def test_a_clock_that_was_never_read_is_not_trusted() -> None:
    """A worker that has just begun does not know when the last call was made."""
    assert ClockWatch().even_for() == 0.0


@pytest.mark.parametrize("step", [-86_400.0, -3_600.0, -1.0, 1.0, 10.0, 3_600.0, 86_400.0])
def test_a_step_is_seen_and_the_even_time_begins_again(step: float) -> None:
    """Forward and back."""
    readings = Readings()
    seen = [readings.read() for _ in range(10)]
    before = readings.watch.even_for()
    readings.offset += step

    stepped, after = readings.read(), readings.watch.even_for()

    assert (seen, before) == ([False] * 10, 9.0)
    assert (stepped, after) == (True, 0.0)
    assert [readings.read() for _ in range(3)] == [False] * 3
    assert readings.watch.even_for() == 3.0


@pytest.mark.parametrize(("step", "forward"), [(10.0, 10.0), (86_400.0, 86_400.0), (-10.0, 0.0)])
def test_the_watch_knows_how_far_the_clock_was_set_forward(step: float, forward: float) -> None:
    """Late inquiries are put off by that."""
    readings = Readings()
    readings.read()
    readings.offset += step
    readings.read()

    assert readings.watch.forward_seconds == pytest.approx(forward, abs=0.01)


@pytest.mark.parametrize("takes", [0.0, 0.1, 5.0])
def test_a_slow_answer_is_not_a_step(takes: float) -> None:
    """The clock was read at some time between question and answer."""
    readings = Readings()

    assert not any(readings.read(takes=takes if count % 2 else 0.001) for count in range(50))


def test_a_slow_answer_hides_no_step() -> None:
    """The readings before bound it."""
    readings = Readings()
    readings.read()
    readings.read(takes=60.0)
    readings.offset += 10.0

    assert readings.read()


@pytest.mark.parametrize("drift", [-0.0005, 0.0005])
def test_a_clock_that_is_slewed_is_not_set(drift: float) -> None:
    """NTP makes a clock run slower or faster by so much, for hours."""
    readings = Readings()

    for _ in range(10_000):
        readings.offset += drift
        assert not readings.read()


def test_small_steps_are_passed_over() -> None:
    """They shorten the wait before an inquiry by less than the smallest step."""
    readings = Readings()
    readings.read()
    readings.offset += STEP_SECONDS_MIN * 0.9

    assert not readings.read()
