"""The events as they are stored: topics, fields and versions that are never to change unnoticed."""

from typing import get_args

import msgspec
import pytest

from ledger.domain.account import Account
from ledger.domain.events import (
    EVENT_BY_TOPIC,
    AccountEvent,
    AnyEvent,
    Event,
    GatewayChanged,
    LedgerRecovered,
    PaymentEnded,
    PaymentEvent,
)
from ledger.store.serialization import SNAPSHOT_TOPIC

EACH = pytest.mark.parametrize("topic", EVENT_BY_TOPIC)

ENDED = ["payment_id", "account_id", "kind", "amount_minor", "fee_minor", "currency", "series", "ended_by"]
ANSWERED = ["http_status", "error", "reference", "answer_digest", "elapsed_ms"]

FIELDS = {
    "account.opened": ["currency", "opening_minor", "idempotency"],
    "account.funds_held": ["payment_id", "currency", "amount_minor"],
    "account.hold_released": ["payment_id", "currency", "amount_minor"],
    "account.credited": ["payment_id", "currency", "gross_minor", "fee_minor", "net_minor"],
    "account.debited": ["payment_id", "currency", "gross_minor", "fee_minor", "total_minor", "held_minor"],
    "payment.requested": [
        "payment_id",
        "account_id",
        "kind",
        "amount_minor",
        "fee_minor",
        "fee_rate_ppm",
        "currency",
        "idempotency",
        "gateway_key",
    ],
    "payment.gateway_attempted": [
        *("payment_id", "series", "attempt", "gateway_key", "outcome"),
        *ANSWERED,
        *("late", "retry_at", "inquire_at"),
    ],
    "payment.inquired": [
        *("payment_id", "series", "gateway_key", "answer"),
        *ANSWERED,
        *("call_at", "late", "inquire_at"),
    ],
    "payment.succeeded": [*ENDED, "reference"],
    "payment.failed": [*ENDED, "reason", "inquire_at", "available_minor"],
    "payment.parked": ["payment_id", "series", "reason"],
    "payment.requeued": [
        *("payment_id", "account_id", "kind", "amount_minor", "fee_minor", "currency"),
        *("series", "gateway_key", "why", "asks_first", "idempotency"),
    ],
    "payment.contradicted": ["payment_id", "series", "gateway_key", "http_status", "reference", "answer_digest"],
    "payment.resolved": [
        *("payment_id", "outcome", "why", "idempotency", "gateway_key"),
        *("gateway_answer", "gateway_error", "forced"),
    ],
    "payment.adjusted": [
        *("payment_id", "currency", "direction", "amount_minor"),
        *("against", "why", "gateway_key", "idempotency"),
    ],
    "account.adjusted": ["payment_id", "currency", "direction", "amount_minor"],
    "operation.gateway_changed": ["gateway", "change", "why"],
    "ledger.recovered": ["why", "next_account_id", "next_payment_sequence", "calls"],
}
"""The fields of each event. A change of a line here needs a new VERSION and an upcast.

A new field whose default is not stored needs neither.
"""

ACCOUNT_FIELDS = [
    *("account_id", "version", "currency", "posted_minor", "held_minor"),
    *("opened_at", "opening_minor"),
]
"""The fields of a snapshot. A change needs a new version at the end of its topic."""


def test_a_snapshot_stores_what_its_topic_stands_for() -> None:
    """One of another shape would be read wrongly, or not at all."""
    assert ("account.snapshot/1", list(Account.__struct_fields__)) == (SNAPSHOT_TOPIC, ACCOUNT_FIELDS)


def test_the_registry_holds_every_event_and_nothing_else() -> None:
    """An event that is missing there could be written and never read again."""
    leaves = {*get_args(AccountEvent), *get_args(PaymentEvent), LedgerRecovered, GatewayChanged}

    assert leaves == set(EVENT_BY_TOPIC.values()) == set(get_args(AnyEvent))
    assert all(topic == event_class.TOPIC for topic, event_class in EVENT_BY_TOPIC.items())
    subclasses = {*Event.__subclasses__(), *PaymentEnded.__subclasses__()}
    assert {PaymentEnded, *leaves} == {cls for cls in subclasses if cls.__module__ == "ledger.domain.events"}


def test_the_stored_fields_of_every_event_are_these() -> None:
    """Names are stored and sealed. A field with a default changes no version; a new meaning does."""
    assert {topic: sorted(fields) for topic, fields in FIELDS.items()} == {
        topic: sorted(event_class.__struct_fields__) for topic, event_class in EVENT_BY_TOPIC.items()
    }
    versions = {topic: event_class.VERSION for topic, event_class in EVENT_BY_TOPIC.items()}
    assert {topic: version for topic, version in versions.items() if version > 1} == {"payment.inquired": 2}


@EACH
def test_money_is_whole_minor_units_with_its_currency_and_payment(topic: str) -> None:
    """Each event with an amount has its currency and, except an opening, its payment."""
    fields = {field.name: field.type for field in msgspec.structs.fields(EVENT_BY_TOPIC[topic])}
    amounts = {name: kind for name, kind in fields.items() if name.endswith("_minor")}

    assert not amounts or "currency" in fields
    assert not amounts or "payment_id" in fields or topic == "account.opened"
    assert float not in fields.values()
    assert all("int" in str(kind) for kind in amounts.values())


@EACH
def test_every_event_of_a_payment_names_the_payment(topic: str) -> None:
    """So that a reader of the log needs no stream name to know whose it is."""
    if topic.startswith("payment."):
        assert "payment_id" in EVENT_BY_TOPIC[topic].__struct_fields__


@EACH
def test_events_are_values_that_nobody_can_change(topic: str) -> None:
    """An event never changes."""
    assert EVENT_BY_TOPIC[topic].__struct_config__.frozen
