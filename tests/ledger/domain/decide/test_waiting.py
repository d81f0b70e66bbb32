"""The limit of payments that have not ended: which count, which room each end makes, and what a refusal leaves."""

from collections.abc import Callable
from typing import Final

import pytest

from ledger.domain.commands import Fail, InquireAfter, RetryAfter, Succeed
from ledger.errors import TooManyWaiting
from tests.support.ledgers.paper import PaperWriter, deposit, requeue, resolve, withdrawal
from tests.support.ledgers.paper_payments import INQUIRE, declined, in_doubt

STILL_WAITING: Final[dict[str, Callable[[PaperWriter], object]]] = {
    "requested": lambda ledger: ledger.one(deposit()),
    "a withdrawal": lambda ledger: ledger.one(withdrawal()),
    "to be called again": lambda ledger: ledger.told(
        ledger.requested(deposit()).payment_id, "turned_away", RetryAfter(1.5)
    ),
    "to be asked about": lambda ledger: ledger.told(ledger.requested(deposit()).payment_id, "unknown", INQUIRE),
    "in doubt": lambda ledger: in_doubt(ledger, withdrawal()),
    "queued again": lambda ledger: ledger.one(requeue(declined(ledger, deposit()))),
}
ENDED: Final[dict[str, Callable[[PaperWriter], object]]] = {
    "succeeded": lambda ledger: ledger.told(ledger.requested(deposit()).payment_id, "approved", Succeed()),
    "declined": lambda ledger: declined(ledger, withdrawal()),
    "refused at once": lambda ledger: ledger.one(withdrawal("1000.00")),
    "resolved": lambda ledger: ledger.one(resolve(in_doubt(ledger, deposit()), "failed")),
    "to be asked about late": lambda ledger: ledger.inquired(
        ledger.told(ledger.requested(deposit()).payment_id, "unknown", InquireAfter(1.0)).payment_id,
        "not_found",
        Fail(inquire_after_seconds=3600.0),
    ),
}


@pytest.mark.parametrize("story", STILL_WAITING)
def test_a_payment_that_has_not_ended_counts(ledger: PaperWriter, story: str) -> None:
    """The user has one, and may have one."""
    STILL_WAITING[story](ledger)
    before = ledger.store.events()

    (refused,) = ledger.write(deposit(waiting_max=1, idempotency_key="k"))

    assert isinstance(refused, TooManyWaiting)
    assert refused.facts == {"account_id": 1, "waiting_max": 1}
    assert ledger.store.events() == before
    assert ledger.store.keys == {}


@pytest.mark.parametrize("story", ENDED)
def test_a_payment_that_has_ended_does_not_count(ledger: PaperWriter, story: str) -> None:
    """There is room for one."""
    ENDED[story](ledger)

    assert not ledger.one(deposit(waiting_max=1)).replayed


def test_requests_of_one_batch_count_each_other(ledger: PaperWriter) -> None:
    """Of five in a batch three are taken, whatever their kind, and one that is refused for its money is not waiting."""
    commands = [
        withdrawal("900.00", waiting_max=3),
        *(command(waiting_max=3) for command in (deposit, withdrawal, deposit, withdrawal, deposit)),
    ]

    answers = ledger.write(*commands)

    assert answers[0].refused
    assert [isinstance(answer, TooManyWaiting) for answer in answers] == [False] * 4 + [True] * 2


def test_an_end_in_the_same_batch_makes_room(ledger: PaperWriter) -> None:
    """An operator's decision before the request."""
    payment_id = in_doubt(ledger, deposit())

    before, resolved, after = ledger.write(
        deposit(waiting_max=1), resolve(payment_id, "success"), deposit(waiting_max=1)
    )

    assert isinstance(before, TooManyWaiting)
    assert resolved.state == "succeeded"
    assert not after.refused


def test_a_refused_request_succeeds_with_the_same_key_once_there_is_room(ledger: PaperWriter) -> None:
    """The refusal is not recorded under the key."""
    first = ledger.requested(deposit())
    again = deposit("3.00", waiting_max=1, idempotency_key="k")
    (refused,) = ledger.write(again)
    ledger.told(first.payment_id, "approved", Succeed())

    accepted, replayed = ledger.one(again), ledger.one(again)

    assert isinstance(refused, TooManyWaiting)
    assert (accepted.replayed, replayed.replayed) == (False, True)
    assert accepted.payment_id == replayed.payment_id


def test_a_replay_is_answered_however_many_wait(ledger: PaperWriter) -> None:
    """It makes no payment."""
    request = deposit(waiting_max=1, idempotency_key="k")
    first = ledger.one(request)

    assert ledger.one(request).payment_id == first.payment_id


def test_others_do_not_count(ledger: PaperWriter) -> None:
    """Each user has room of their own, and a request without a limit has no end of it."""
    ledger.opened()
    ledger.write(deposit(), deposit())

    second, unlimited = ledger.write(deposit(account_id=2, waiting_max=1), deposit())

    assert not second.refused
    assert not unlimited.refused
