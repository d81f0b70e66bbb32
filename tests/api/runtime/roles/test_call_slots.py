"""The bound of calls under way: one for all workers of a process, of which each has a part that no other one takes."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.payments.call_slots import CallSlots, TooFewSlots


def test_a_single_worker_has_all_slots() -> None:
    """As it had before there were partitions."""
    share = CallSlots(64).worker(lambda: None)

    assert (share.take(), share.take()) == (64, 0)
    share.give_back(3)
    assert share.take() == 3


def test_a_worker_that_alone_has_work_takes_more_than_its_part() -> None:
    """Its own slots, and all that belong to nobody."""
    slots = CallSlots(64, workers=4)
    first, *_ = [slots.worker(lambda: None) for _ in range(4)]

    assert first.take() == 8 + 32


def test_a_worker_that_keeps_its_slots_leaves_the_others_theirs() -> None:
    """Calls whose database cannot be reached keep their slots until it is back."""
    slots = CallSlots(64, workers=4)
    stuck, *others = [slots.worker(lambda: None) for _ in range(4)]

    stuck.take()

    assert [other.take() for other in others] == [8, 8, 8]


def test_a_common_slot_wakes_those_that_found_none() -> None:
    """Each of them may use it, and one that has found slots is not woken."""
    woken: list[str] = []
    slots = CallSlots(4, workers=2)
    first, second = (slots.worker(partial(woken.append, name)) for name in ("first", "second"))
    assert (first.take(), second.take()) == (3, 1)
    assert (first.take(), second.take()) == (0, 0)

    first.give_back(1)
    assert woken == ["first", "second"]
    assert second.take() == 1
    first.give_back(2)
    assert woken == ["first", "second"]


def test_a_slot_of_its_own_wakes_its_worker_alone() -> None:
    """No other worker can use it."""
    woken: list[str] = []
    slots = CallSlots(2, workers=2)
    first, second = (slots.worker(partial(woken.append, name)) for name in ("first", "second"))
    assert (first.take(), second.take(), first.take(), second.take()) == (1, 1, 0, 0)

    second.give_back()

    assert woken == ["second"]


def test_fewer_slots_than_workers_are_refused() -> None:
    """One of them could never make a call."""
    with pytest.raises(TooFewSlots, match="3 calls at a time are too few for 4 workers"):
        CallSlots(3, workers=4)


@given(
    workers=st.sampled_from([1, 2, 3, 4, 8]),
    spare=st.integers(0, 70),
    steps=st.lists(st.tuples(st.integers(0, 7), st.integers(0, 80))),
)
def test_the_bound_holds_and_no_slot_is_lost(workers: int, spare: int, steps: list[tuple[int, int]]) -> None:
    """However the workers take and give back; and each can always take one that is its own."""
    total = workers + spare
    slots = CallSlots(total, workers=workers)
    shares = [slots.worker(lambda: None) for _ in range(workers)]
    held = [0] * workers

    for number, kept in steps:
        n = number % workers
        taken = shares[n].take()
        assert taken > 0 or held[n] > 0
        held[n] += taken
        assert sum(held) <= total
        given_back = held[n] - min(held[n], kept)
        shares[n].give_back(given_back)
        held[n] -= given_back
    for share, count in zip(shares, held, strict=True):
        share.give_back(count)

    assert shares[0].take() == total - (workers - 1) * slots.own
