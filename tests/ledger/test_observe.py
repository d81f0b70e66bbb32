"""Hooks for measurements: every observer hears every report, and one that fails harms nothing."""

from ledger.observe import Observation, PageApplied, observe_with, report, stop_observing

PAGE = PageApplied(group="counters", events=3, seconds=0.5)


def test_an_observer_hears_every_report_until_it_stops() -> None:
    """Stopping twice is harmless."""
    heard: list[Observation] = []
    observe_with(heard.append)
    report(PAGE)
    stop_observing(heard.append)
    stop_observing(heard.append)
    report(PAGE)

    assert heard == [PAGE]


def test_an_observer_that_raises_is_dropped_and_the_others_hear_on() -> None:
    """The caller, which may have committed a payment, sees no error."""
    heard: list[Observation] = []
    tried: list[Observation] = []

    def broken(seen: Observation) -> None:
        tried.append(seen)
        raise RuntimeError

    observe_with(broken)
    observe_with(heard.append)
    report(PAGE)
    report(PAGE)
    stop_observing(heard.append)

    assert (tried, heard) == ([PAGE], [PAGE, PAGE])
