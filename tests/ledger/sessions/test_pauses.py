"""Pauses between tries grow, and are random."""

import pytest

from ledger.sessions.pauses import FIRST_SECONDS, LONGEST_SECONDS, Pauses


def test_pauses_grow_to_the_longest_one() -> None:
    """Each limit is twice the one before, up to the longest."""
    pauses = Pauses(jitter=lambda: 1.0)

    found = [pauses.next_seconds() for _ in range(7)]

    assert found == [FIRST_SECONDS, 0.1, 0.2, 0.4, 0.8, LONGEST_SECONDS, LONGEST_SECONDS]


@pytest.mark.parametrize(("drawn", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_a_pause_is_drawn_from_the_upper_half_of_its_limit(drawn: float, share: float) -> None:
    """Callers that failed together so do not try again together."""
    pauses = Pauses(jitter=lambda: drawn)

    assert pauses.next_seconds() == FIRST_SECONDS * share


def test_chance_decides_without_a_choice_of_the_caller() -> None:
    """Two callers wait for different times."""
    assert len({Pauses().next_seconds() for _ in range(20)}) > 1
