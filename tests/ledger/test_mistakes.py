"""Conditions that only a bug can break are asserted where the code relies on them, also in production.

Each case below is such a bug. Inputs of clients and answers of gateways never lead there, because they are refused.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec.structs import replace

import ledger.domain.account
import ledger.domain.decide
import ledger.domain.payment
from ledger.domain.account import Account
from ledger.domain.commands import RetryAfter, Succeed
from ledger.domain.decision import Decision, IdempotencyRecord, PlannedEvent, QueueEntry
from ledger.domain.events import (
    AccountOpened,
    FundsHeld,
    IdempotencyKey,
    PaymentParked,
    Recorded,
    facts_of,
)
from ledger.domain.evolve import evolve_account, evolve_payment
from ledger.domain.gateway_schedule import Schedule, queue_entry
from ledger.domain.identifiers import gateway_key
from ledger.domain.money import fee_minor
from ledger.domain.payment import Payment
from ledger.store.log import Head
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from tests.support.ledgers.paper import PaperWriter, deposit, open_account, outcome

CHECKOUT: Final = Path(__file__).resolve().parents[2]
AT: Final = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HEAD: Final = Head(5, b"", AT, 8, 3)

ACCOUNT: Final = Account(
    account_id=7, version=3, currency="USD", posted_minor=1_000, held_minor=100, opened_at=AT, opening_minor=500
)
PAYMENT: Final = Payment(9, 7, "withdraw", 50, 1, "USD", version=1, requested_at=AT, gateway_key="payment-9", held=True)
FAILED: Final = replace(PAYMENT, state="failed", ended_by="gateway", version=3, held=False)
KEY: Final = IdempotencyKey(scope="user-7", key="k", fingerprint="deposit/7/1")


def recorded(event: Any, *, version: int) -> Recorded[Any]:
    """An event at a place of its stream."""
    return Recorded(originator_id="x", originator_version=version, at=AT, command_id="c", cause="t", data=event)


def view(*, cache: AggregateCache | None = None) -> BatchView:
    """An empty batch."""
    return BatchView(cache or AggregateCache(capacity=9), HEAD, now=AT, keys={})


def cache_without_sum() -> AggregateCache:
    """A cache with an account, and without its pending sum."""
    cache = AggregateCache(capacity=9)
    cache.accounts[ACCOUNT.id] = ACCOUNT
    return cache


def settled_twice() -> object:
    """A payment that is settled, and then failed by an outcome that nobody refused as late."""
    succeeded = replace(PAYMENT, state="succeeded", ended_by="gateway")
    return ledger.domain.payment._failed(succeeded, "gateway", "timeout")


def key_taken_twice() -> None:
    """Two accounts that are opened under one key in one batch, the second one without looking."""
    batch = view()
    for account_id in (8, 9):
        opened = PlannedEvent(f"account-{account_id}", AccountOpened(currency="USD", opening_minor=1, idempotency=KEY))
        record = IdempotencyRecord(subject_kind="account", subject_id=account_id, idempotency=KEY)
        batch.apply(open_account(), Decision(planned=[opened], key=record, answer=None))


def queued_and_removed() -> None:
    """A payment that is to be called, and is done with."""
    entry = QueueEntry(*facts_of(PAYMENT), series=1, gateway_key="payment-9", payment_version=1, due_at=AT)
    view().apply(open_account(), Decision(enqueue=entry, dequeue=9, answer=None))


def numbered_twice() -> None:
    """An account that is opened with another number than the head has counted."""
    opened = PlannedEvent("account-5", AccountOpened(currency="USD", opening_minor=1))
    view().apply(open_account(), Decision(planned=[opened], answer=None))


def retried_in_the_past() -> None:
    """A worker that wants a call to have been made already."""
    paper = PaperWriter()
    paper.opened("10.00")
    payment = paper.requested(deposit("1.00"))
    paper.one(outcome(payment, "unknown", RetryAfter(-1.0)))


def called_after_its_end() -> None:
    """A call that is wanted after a report with which the payment ends."""
    paper = PaperWriter()
    paper.opened("10.00")
    payment = paper.requested(deposit("1.00"))
    ledger.domain.decide._next_call(payment, outcome(payment, "approved", Succeed()), [], view())


MISTAKES: Final[dict[str, Callable[[], object]]] = {
    "a hold of less than nothing": lambda: ledger.domain.account.hold(ACCOUNT, payment_id=9, amount_minor=-1),
    "a release of what is not held": lambda: ledger.domain.account.release(ACCOUNT, payment_id=9, amount_minor=101),
    "a fee above its amount": lambda: ledger.domain.account.credit(ACCOUNT, payment_id=9, gross_minor=5, fee_minor=6),
    "a debit from a hold that is not there": lambda: ledger.domain.account.debit(
        ACCOUNT, payment_id=9, gross_minor=100, fee_minor=1, held=True
    ),
    "less than nothing on its way": lambda: ledger.domain.account.ensure_balance_limit(
        ACCOUNT, pending_minor=-1, incoming_minor=1
    ),
    "a fee of a negative amount": lambda: fee_minor(-1, rate_ppm=20_000),
    "a series before the first": lambda: gateway_key(9, 0),
    "an account's event that was passed over": lambda: evolve_account(
        ACCOUNT, recorded(FundsHeld(payment_id=9, currency="USD", amount_minor=1), version=5)
    ),
    "a payment's event that is applied twice": lambda: evolve_payment(
        PAYMENT, recorded(PaymentParked(payment_id=9, series=1, reason="x"), version=1)
    ),
    "a second end": settled_twice,
    "a success after a failure that nobody contradicted": lambda: ledger.domain.payment._succeeded(
        FAILED, "gateway", None
    ),
    "a requeue of what still holds money": lambda: ledger.domain.payment.requeue(
        replace(FAILED, held=True), why="again", ask_first=True
    ),
    "a place in the queue for what has ended": lambda: queue_entry(
        FAILED, Schedule("pay", AT, 0, 1), otherwise_due_at=AT
    ),
    "a call that was due before it was decided": retried_in_the_past,
    "a call after the end": called_after_its_end,
    "an account without the sum of what is on its way": lambda: view(cache=cache_without_sum()).pending_minor(7),
    "a cache that goes back": lambda: view().commit_to(_at_position(6), HEAD),
    "a cache that lost a sum": lambda: cache_without_sum().commit({}, {}, {}, HEAD),
    "one key for two requests": key_taken_twice,
    "an entry that is written and removed": queued_and_removed,
    "an account that is numbered twice": numbered_twice,
}


def _at_position(position: int) -> AggregateCache:
    cache = AggregateCache(capacity=9)
    cache.position = position
    return cache


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_ours_is_stopped_where_it_is_relied_on_not_to_happen(mistake: Callable[[], object]) -> None:
    """Before anything is stored; the writer then refuses the guilty command alone, as its own tests show."""
    with pytest.raises(AssertionError):
        mistake()


def test_no_program_of_ours_is_started_without_assertions() -> None:
    """They are on in production: neither make, the image, the scripts nor our own programs pass -O to Python."""
    programs = [*CHECKOUT.glob("Makefile"), *CHECKOUT.glob("*ocker*"), *(CHECKOUT / ".ci").iterdir()]
    for folder in ("api", "ledger", "processors", "projections"):
        programs += (CHECKOUT / folder).rglob("*.py")

    found = [path.name for path in programs if re.search(r"(?<=[\s\"'])-OO?(?=[\s\"'])", path.read_text("utf-8"))]

    assert len(programs) > 100
    assert found == []
