"""All that a writer stores of one story, held byte by byte: what an older program has written is gone on with."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ledger.domain.commands import Fail, InquireAfter, RetryAfter, Succeed
from ledger.domain.events import EVENT_BY_TOPIC, GatewayChanged, LedgerRecovered
from tests.support.ledgers.paper import PaperWriter, adjust, deposit, open_account, withdrawal

SEAL = "c9558d2c91ec8c04035d202ce44102d62500b533020541e7ea2969fbbb13a3e5"
STORED = {
    "snapshots": "efb403238858860a892dd0076f777a26cc093827ee10cac421fa93c5afa87f8b",
    "keys": "80c10d1cbf1486e25d8cf8a180aad1c926666ec697430b083b17ccd9fabf47e1",
    "queue": "673162c6f76c9be63ae038557945df4dc5a0ac5bb05137c0e84f1471b5e245fb",
}


@pytest.fixture(scope="module")
def ledger() -> PaperWriter:
    """A ledger in which each event has happened, of both kinds of payment, with keys and in several currencies."""
    ledger = PaperWriter()
    ledger.salt = ""
    ledger.opened("1000.00", caller="shop", idempotency_key="first")
    ledger.opened("5000", currency="JPY", by="Ada")
    for request in (deposit, withdrawal):
        for story in (settled, doubted, contradicted, requeued, waiting):
            ledger.store.clock += timedelta(seconds=1, microseconds=7)
            story(ledger, ledger.requested(request("20.05", idempotency_key=f"{request.__name__} {story.__name__}")))
    ledger.requested(withdrawal("6000", account_id=2, idempotency_key="too much"))
    ledger.write(open_account("7.00"), deposit("1.00", account_id=2), withdrawal("2.00", trace_context="00-ab-cd-01"))
    return ledger


def settled(ledger: PaperWriter, payment: Any) -> None:
    """A call is turned away, one ends without an answer, and then the late answer of the second one comes."""
    payment = ledger.told(payment.payment_id, "turned_away", RetryAfter(1.5), http_status=429, elapsed_ms=3)
    payment = ledger.told(payment.payment_id, "unknown", InquireAfter(5.0), error="timeout")
    ledger.told(payment.payment_id, "approved", Succeed(), attempt=2, reference="r-1", answer_digest="ab12")


def doubted(ledger: PaperWriter, payment: Any) -> None:
    """The gateway cannot say what became of it, and an operator does."""
    payment = ledger.told(payment.payment_id, "unknown", InquireAfter(5.0), error="timeout")
    ledger.inquired(payment.payment_id, "no_clear_answer", InquireAfter(5.0), http_status=404)
    ledger.resolved(payment.payment_id, "failed")


def contradicted(ledger: PaperWriter, payment: Any) -> None:
    """The gateway declines it, and then says that it moved the money; later the same moves once more."""
    payment = ledger.told(payment.payment_id, "declined", Fail("gateway_error_422"), error="gateway_error_422")
    ledger.told(payment.payment_id, "approved", Succeed(), attempt=1, http_status=200, reference="r-2")
    ledger.resolved(payment.payment_id, "success")
    ledger.one(adjust(payment.payment_id, why="sent back", against="account", idempotency_key="booked"))


def requeued(ledger: PaperWriter, payment: Any) -> None:
    """It is declined, sent there again, and waits."""
    payment = ledger.told(payment.payment_id, "declined", Fail(), error="gateway_error_400")
    ledger.requeued(payment.payment_id, ask_first=False)
    ledger.told(payment.payment_id, "unknown", RetryAfter(0.25), elapsed_ms=1_000)


def waiting(ledger: PaperWriter, payment: Any) -> None:
    """Nothing has happened to it yet."""
    assert ledger.payment(payment.payment_id).state == "new"


def test_the_story_has_every_event(ledger: PaperWriter) -> None:
    """One that is added belongs into the story; the seal below then changes with the story, and for no other reason.

    No command recovers a ledger or changes a gateway, so the story does not have these events.
    """
    assert {row.topic for row in ledger.store.log} == set(EVENT_BY_TOPIC) - {
        LedgerRecovered.TOPIC,
        GatewayChanged.TOPIC,
    }


def test_a_story_ends_with_the_same_seal_in_every_release(ledger: PaperWriter) -> None:
    """It covers stream, version, topic and bytes of all events, and so names, order and defaults of all fields."""
    assert ledger.store.head.digest.hex() == SEAL


def test_what_else_a_story_stores_is_the_same_in_every_release(ledger: PaperWriter) -> None:
    """Snapshots by their bytes; idempotency keys with their fingerprints, and queue entries, by their columns."""
    store = ledger.store
    stored: dict[str, Any] = {
        "snapshots": [(*row[:3], row.state.decode()) for row in store.snapshots],
        "keys": [msgspec.to_builtins(key) for key in store.keys.values()],
        "queue": [msgspec.to_builtins(entry) for entry in store.queue.values()],
    }

    assert {name: digest(of) for name, of in stored.items()} == STORED


def digest(of: Any) -> str:
    """The digest of something's JSON."""
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()
