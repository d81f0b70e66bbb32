"""The rate at which a queue was drained is computed from the log's own times."""

from datetime import UTC, datetime, timedelta

from tests.benchmarks.scenarios.bad_gateway import allowed, drained_by

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_a_steady_rate_is_reported_as_it_was() -> None:
    """Ten attempts a second, of which every second one succeeds."""
    times = []
    for number in range(100):
        at = START + timedelta(seconds=number / 10)
        times += [(False, at)] + ([(True, at)] if number % 2 else [])

    drained = drained_by(times, first=11, last=91)

    assert (round(drained.attempts, 6), round(drained.successes, 6)) == (10.0, 5.0)
    assert round(drained.pause_seconds, 6) == 0.2


def test_a_stall_shows_as_a_pause() -> None:
    """A pause at the end of the measured time counts too."""
    times = [(kind, START + timedelta(seconds=second)) for second in (0, 1, 2, 7) for kind in (False, True)]

    assert drained_by(times, first=1, last=4).pause_seconds == 5.0
    assert drained_by([*times, (False, START + timedelta(seconds=30))], first=1, last=5).pause_seconds == 23.0


def test_what_the_attempts_allow_is_limited_by_slots_or_by_the_machine() -> None:
    """64 slots, a tenth of the calls for a second each: 640 attempts a second, of which 65 % succeed."""
    assert round(allowed(10_000), 6) == 416.0
    assert round(allowed(200), 6) == 130.0
