"""The stored bytes of each event stay those of the first release, because seals are computed over them."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from ledger.domain.account import Account
from ledger.domain.events import (
    EVENT_BY_TOPIC,
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    GatewayChanged,
    HoldReleased,
    IdempotencyKey,
    LedgerRecovered,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
)
from ledger.store.serialization import encode, encode_snapshot
from tests.support.recorded_events import AT, requested


def test_the_stored_bytes_of_an_event_do_not_change_from_release_to_release() -> None:
    """The order of the fields counts too, because an import must compute the same digests."""
    parked = PaymentParked(payment_id=1, series=1, reason="pending")

    state = encode(requested(data=parked, cause="RecordInquiry"))

    assert state == (
        b'{"at":"2026-11-23T12:00:00.123456Z","command_id":"r-1","cause":"RecordInquiry",'
        b'"data":{"payment_id":1,"series":1,"reason":"pending"}}'
    )


LATER = AT + timedelta(seconds=5)
KEY = IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/20000")
KEY_BYTES = b'"idempotency":{"scope":"user-1","key":"k","fingerprint":"deposit/1/20000"}'
FACTS: dict[str, Any] = {
    "payment_id": 1025,
    "account_id": 1,
    "kind": "deposit",
    "amount_minor": 20_000,
    "fee_minor": 400,
    "currency": "USD",
}
FACTS_BYTES = (
    b'"payment_id":1025,"account_id":1,"kind":"deposit","amount_minor":20000,"fee_minor":400,"currency":"USD",'
)
SERIES: dict[str, Any] = {"payment_id": 1025, "series": 2, "gateway_key": "payment-1025-2"}
SERIES_BYTES = b'"payment_id":1025,"series":2,"gateway_key":"payment-1025-2",'
ANSWER: dict[str, Any] = {
    "http_status": 504,
    "error": "timeout",
    "reference": "r-9",
    "answer_digest": "ab12",
    "elapsed_ms": 31,
}
ANSWER_BYTES = b'"http_status":504,"error":"timeout","reference":"r-9","answer_digest":"ab12","elapsed_ms":31'

ADJUSTED_BYTES = (
    b'{"payment_id":1025,"currency":"USD","direction":"out","amount_minor":5,"against":"suspense",'
    b'"why":"paid twice","gateway_key":"payment-1025",'
)

WHOLE_EVENTS: list[tuple[AnyEvent, bytes]] = [
    (
        AccountOpened(currency="USD", opening_minor=5, idempotency=KEY),
        b'{"currency":"USD","opening_minor":5,' + KEY_BYTES + b"}",
    ),
    (
        FundsHeld(payment_id=1, currency="USD", amount_minor=5),
        b'{"payment_id":1,"currency":"USD","amount_minor":5}',
    ),
    (
        HoldReleased(payment_id=1, currency="USD", amount_minor=5),
        b'{"payment_id":1,"currency":"USD","amount_minor":5}',
    ),
    (
        AccountCredited(payment_id=1, currency="USD", gross_minor=7, fee_minor=2, net_minor=5),
        b'{"payment_id":1,"currency":"USD","gross_minor":7,"fee_minor":2,"net_minor":5}',
    ),
    (
        AccountDebited(payment_id=1, currency="USD", gross_minor=7, fee_minor=2, total_minor=9, held_minor=9),
        b'{"payment_id":1,"currency":"USD","gross_minor":7,"fee_minor":2,"total_minor":9,"held_minor":9}',
    ),
    (
        PaymentRequested(**FACTS, fee_rate_ppm=20_000, idempotency=KEY),
        b'{"payment_id":1025,"account_id":1,"kind":"deposit","amount_minor":20000,"fee_minor":400,'
        b'"fee_rate_ppm":20000,"currency":"USD",' + KEY_BYTES + b"}",
    ),
    (
        GatewayAttempted(**SERIES, attempt=3, outcome="unknown", **ANSWER, late=True, retry_at=LATER, inquire_at=LATER),
        b'{"payment_id":1025,"series":2,"attempt":3,"gateway_key":"payment-1025-2","outcome":"unknown",'
        + ANSWER_BYTES
        + b',"late":true,"retry_at":"2026-11-23T12:00:05.123456Z","inquire_at":"2026-11-23T12:00:05.123456Z"}',
    ),
    (
        PaymentInquired(**SERIES, answer="not_found", call_at=LATER, late=True, inquire_at=LATER),
        b"{"
        + SERIES_BYTES
        + b'"answer":"not_found","call_at":"2026-11-23T12:00:05.123456Z","late":true,'
        + b'"inquire_at":"2026-11-23T12:00:05.123456Z"}',
    ),
    (
        PaymentRequested(**FACTS, fee_rate_ppm=20_000, gateway_key="payment-1025_0123456789abcdef"),
        b"{"
        + FACTS_BYTES.replace(b'"currency":"USD",', b'"fee_rate_ppm":20000,"currency":"USD",')
        + b'"gateway_key":"payment-1025_0123456789abcdef"}',
    ),
    (
        PaymentAdjusted(
            payment_id=1025,
            currency="USD",
            direction="out",
            amount_minor=5,
            against="suspense",
            why="paid twice",
            gateway_key="payment-1025",
            idempotency=KEY,
        ),
        ADJUSTED_BYTES + KEY_BYTES + b"}",
    ),
    (
        AccountAdjusted(payment_id=1025, currency="USD", direction="in", amount_minor=5),
        b'{"payment_id":1025,"currency":"USD","direction":"in","amount_minor":5}',
    ),
    (
        PaymentInquired(**SERIES, answer="declined", **ANSWER),
        b"{" + SERIES_BYTES + b'"answer":"declined",' + ANSWER_BYTES + b"}",
    ),
    (
        PaymentSucceeded(**FACTS, series=2, ended_by="gateway", reference="r-9"),
        b"{" + FACTS_BYTES + b'"series":2,"ended_by":"gateway","reference":"r-9"}',
    ),
    (
        PaymentFailed(**FACTS, series=2, ended_by="inquiry", reason="timeout"),
        b"{" + FACTS_BYTES + b'"series":2,"ended_by":"inquiry","reason":"timeout"}',
    ),
    (
        PaymentFailed(**FACTS, series=2, ended_by="inquiry", reason="timeout", inquire_at=LATER),
        b"{"
        + FACTS_BYTES
        + b'"series":2,"ended_by":"inquiry","reason":"timeout","inquire_at":"2026-11-23T12:00:05.123456Z"}',
    ),
    (
        PaymentFailed(**FACTS, series=1, ended_by="request", reason="insufficient_funds", available_minor=0),
        b"{" + FACTS_BYTES + b'"series":1,"ended_by":"request","reason":"insufficient_funds","available_minor":0}',
    ),
    (
        PaymentRequeued(**FACTS, series=2, gateway_key="payment-1025", why="again", asks_first=True, idempotency=KEY),
        b"{"
        + FACTS_BYTES
        + b'"series":2,"gateway_key":"payment-1025","why":"again","asks_first":true,'
        + KEY_BYTES
        + b"}",
    ),
    (
        PaymentParked(payment_id=1025, series=2, reason="pending"),
        b'{"payment_id":1025,"series":2,"reason":"pending"}',
    ),
    (
        PaymentFailed(**FACTS, series=1, ended_by="request", reason="insufficient_funds", available_minor=0),
        b"{" + FACTS_BYTES + b'"series":1,"ended_by":"request","reason":"insufficient_funds","available_minor":0}',
    ),
    (
        PaymentRequeued(**FACTS, series=2, gateway_key="payment-1025-2", why="again", idempotency=KEY),
        b"{" + FACTS_BYTES + b'"series":2,"gateway_key":"payment-1025-2","why":"again",' + KEY_BYTES + b"}",
    ),
    (
        PaymentFailed(**FACTS, series=1, ended_by="request", reason="insufficient_funds", available_minor=0),
        b"{" + FACTS_BYTES + b'"series":1,"ended_by":"request","reason":"insufficient_funds","available_minor":0}',
    ),
    (
        PaymentRequeued(**FACTS, series=2, gateway_key="payment-1025-2", why="again"),
        b"{" + FACTS_BYTES + b'"series":2,"gateway_key":"payment-1025-2","why":"again"}',
    ),
    (
        PaymentContradicted(**SERIES, http_status=200, reference="r-9", answer_digest="ab12"),
        b"{" + SERIES_BYTES + b'"http_status":200,"reference":"r-9","answer_digest":"ab12"}',
    ),
    (
        PaymentResolved(payment_id=1025, outcome="success", why="the bank told us", idempotency=KEY),
        b'{"payment_id":1025,"outcome":"success","why":"the bank told us",' + KEY_BYTES + b"}",
    ),
    (
        PaymentResolved(payment_id=1025, outcome="success", why="the bank told us"),
        b'{"payment_id":1025,"outcome":"success","why":"the bank told us"}',
    ),
    (
        GatewayChanged(gateway="gateway", change="paused", why="their maintenance"),
        b'{"gateway":"gateway","change":"paused","why":"their maintenance"}',
    ),
    (
        LedgerRecovered(why="restored", next_account_id=1_025, next_payment_sequence=1_000, calls=2),
        b'{"why":"restored","next_account_id":1025,"next_payment_sequence":1000,"calls":2}',
    ),
    (
        PaymentResolved(payment_id=1025, outcome="success", why="the bank told us", gateway_key="payment-1025"),
        b'{"payment_id":1025,"outcome":"success","why":"the bank told us","gateway_key":"payment-1025"}',
    ),
    (
        PaymentResolved(
            payment_id=1025,
            outcome="success",
            why="the bank told us",
            gateway_answer="no_clear_answer",
            gateway_error="timeout",
            forced=True,
        ),
        (
            b'{"payment_id":1025,"outcome":"success","why":"the bank told us",'
            b'"gateway_answer":"no_clear_answer","gateway_error":"timeout","forced":true}'
        ),
    ),
]
"""Events and the bytes of their `data`, which stay the same from the release on that first wrote such an event.

Each event is there with all of its fields, and those that got fields after the first release also in their first form.
"""


@pytest.mark.parametrize(("event", "data"), WHOLE_EVENTS, ids=lambda each: getattr(each, "TOPIC", None))
def test_each_event_is_stored_in_the_bytes_of_its_first_release(event: AnyEvent, data: bytes) -> None:
    """A field that moves within the class would change the bytes, and every seal after them."""
    version = b"" if event.VERSION == 1 else f'"version":{event.VERSION},'.encode()
    before = b'{"at":"2026-11-23T12:00:00.123456Z","command_id":"r-1","cause":"RequestDeposit","by":"operator-7",'
    outer = before + version + b'"data":'

    assert encode(requested(data=event, by="operator-7")) == outer + data + b"}"


def test_every_registered_event_is_listed() -> None:
    """Each registered event has lines above, in one of which each field is filled in."""
    assert {event.TOPIC for event, _ in WHOLE_EVENTS} == set(EVENT_BY_TOPIC)
    for event_class in EVENT_BY_TOPIC.values():
        listed = [event for event, _ in WHOLE_EVENTS if type(event) is event_class]
        defaults = {field.name: field.default for field in msgspec.structs.fields(event_class)}
        assert [name for name, default in defaults.items() if all(getattr(e, name) == default for e in listed)] == []


def test_a_snapshot_is_stored_in_the_bytes_of_the_first_release() -> None:
    """The audit compares snapshots field by field, and an older program reads those of a newer one."""
    account = Account(
        account_id=5, version=200, currency="USD", posted_minor=7, held_minor=3, opened_at=AT, opening_minor=0
    )

    assert encode_snapshot(account) == (
        b'{"account_id":5,"version":200,"currency":"USD","posted_minor":7,"held_minor":3,'
        b'"opened_at":"2026-11-23T12:00:00.123456Z","opening_minor":0}'
    )
