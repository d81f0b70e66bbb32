"""Events and snapshots are read back as they were stored, and unreadable rows are refused."""

import json
from datetime import UTC, datetime
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from eventsourcing.persistence import JSONTranscoder, MapperDeserialisationError, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.account import Account
from ledger.domain.events import EVENT_BY_TOPIC, AnyEvent, IdempotencyKey, Recorded
from ledger.store.serialization import (
    SNAPSHOT_TOPIC,
    AccountSnapshot,
    LedgerMapper,
    decode,
    decode_snapshot,
    encode,
    encode_snapshot,
)
from tests.support.recorded_events import AT, requested

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
INT64 = st.integers(-(2**63), 2**63 - 1)


def events_of(event_class: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    """Draw any event of a class, field by field from its annotations."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "idempotency": st.none() | st.builds(IdempotencyKey, scope=TEXTS, key=TEXTS, fingerprint=TEXTS),
        "late": st.booleans(),
        "forced": st.booleans(),
        "asks_first": st.booleans(),
        "call_at": st.none() | TIMES,
        "retry_at": st.none() | TIMES,
        "inquire_at": st.none() | TIMES,
        "http_status": st.none() | INT64,
    }
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(event_class):
        if words := words_of(field.type):
            drawn[field.name] = st.sampled_from((None, *words) if "None" in str(field.type) else words)
        elif field.name in kinds:
            drawn[field.name] = kinds[field.name]
        elif "int" in str(field.type):
            drawn[field.name] = INT64
        else:
            drawn[field.name] = st.none() | TEXTS if "None" in str(field.type) else TEXTS
    return st.builds(event_class, **drawn)


def words_of(annotation: Any) -> tuple[str, ...]:
    """Return the words that a field takes; none when it takes any text."""
    choices = get_args(annotation) if get_origin(annotation) in {Union, UnionType} else (annotation,)
    return tuple(word for choice in choices if get_origin(choice) is Literal for word in get_args(choice))


def recordings(events: st.SearchStrategy[AnyEvent]) -> st.SearchStrategy[Recorded[AnyEvent]]:
    """Draw recorded events, with stream, version, time and command."""
    return st.builds(
        Recorded,
        originator_id=TEXTS,
        originator_version=INT64,
        at=TIMES,
        command_id=TEXTS,
        cause=TEXTS,
        by=st.none() | TEXTS,
        data=events,
    )


ANY_EVENT = st.sampled_from(sorted(EVENT_BY_TOPIC)).flatmap(lambda topic: events_of(EVENT_BY_TOPIC[topic]))
ACCOUNTS = st.builds(
    Account,
    account_id=INT64,
    version=INT64,
    currency=TEXTS,
    posted_minor=INT64,
    held_minor=INT64,
    opened_at=TIMES,
    opening_minor=INT64,
)


def library_mapper() -> LedgerMapper:
    """The mapper as `eventsourcing` creates it."""
    return LedgerMapper(JSONTranscoder())


# --- writing and reading ---------------------------------------------------------------------------------------------


@given(recorded=recordings(ANY_EVENT))
def test_events_are_read_as_they_were_written(recorded: Recorded[AnyEvent]) -> None:
    """This holds for every event with any values, through our own functions and through the library's mapper."""
    topic = recorded.data.TOPIC

    stored = library_mapper().to_stored_event(recorded)

    assert recorded == decode(recorded.originator_id, recorded.originator_version, topic, encode(recorded))
    assert recorded == library_mapper().to_domain_event(stored)
    assert encode(recorded) == stored.state
    assert (recorded.originator_id, recorded.originator_version, topic) == (
        stored.originator_id,
        stored.originator_version,
        stored.topic,
    )


@given(account=ACCOUNTS)
def test_snapshots_are_read_as_they_were_taken(account: Account) -> None:
    """This holds through our own functions and through the library's mapper."""
    snapshot = AccountSnapshot.take(account)

    stored = library_mapper().to_stored_event(snapshot)

    assert account == decode_snapshot(encode_snapshot(account))
    assert snapshot == library_mapper().to_domain_event(stored)
    assert (account.id, account.version, SNAPSHOT_TOPIC) == (
        stored.originator_id,
        stored.originator_version,
        stored.topic,
    )


def test_an_event_is_stored_as_json_that_an_auditor_can_read() -> None:
    """The object has the time, the command, its cause, and the event under `data`.

    Fields with default values are left out.
    """
    state = encode(requested(by="operator-7"))

    assert json.loads(state) == {
        "at": "2026-11-23T12:00:00.123456Z",
        "command_id": "r-1",
        "cause": "RequestDeposit",
        "by": "operator-7",
        "data": {
            "payment_id": 1025,
            "account_id": 1,
            "kind": "deposit",
            "amount_minor": 20_000,
            "fee_minor": 400,
            "fee_rate_ppm": 20_000,
            "currency": "USD",
            "idempotency": {"scope": "user-1", "key": "k", "fingerprint": "deposit/1/20000"},
        },
    }


def test_times_are_read_in_utc() -> None:
    """A stored time with another offset is converted."""
    state = encode(requested()).replace(b"12:00:00.123456Z", b"14:00:00.123456+02:00")

    recorded = decode("payment-1025", 1, "payment.requested", state)

    assert recorded.at == AT
    assert recorded.at.utcoffset() is not None


def test_only_our_own_events_are_stored() -> None:
    """Only a mistake of ours could pass anything else in."""
    with pytest.raises(AssertionError):
        library_mapper().to_stored_event(StoredEvent("payment-1", 1, "payment.requested", b"{}"))  # type: ignore[arg-type]


# --- unreadable rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", ["payment.refunded", "", "Payment.requested", "ledger.domain.events:PaymentRequested", "account.snapshot"]
)
def test_a_topic_that_is_not_in_the_registry_is_refused(topic: str) -> None:
    """The registry is closed, and a topic is never an import path."""
    with pytest.raises(MapperDeserialisationError, match="cannot read") as refused:
        decode("payment-1025", 1, topic, encode(requested()))

    assert "event 1 of 'payment-1025'" in str(refused.value)


@pytest.mark.parametrize(
    "state",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"state1",
        b'{"data":{}}',
        b'{"at":"2026-11-23T12:00:00Z","command_id":"c","cause":"x","data":null}',
        b'{"at":"2026-11-23T12:00:00Z","command_id":"c","cause":"x","data":{"payment_id":1}}',
        b'{"at":"yesterday","command_id":"c","cause":"x","data":{}}',
        encode(requested())[:-1],
        encode(requested()).replace(b"20000", b"20000.5"),
        encode(requested()).replace(b"20000", b'"20000"'),
        encode(requested()).replace(b"20000", b"9223372036854775808"),
        encode(requested()).replace(b"20000", b"1e400"),
        encode(requested()).replace(b'"deposit"', b'"refund"'),
    ],
)
def test_bytes_of_another_shape_are_refused(state: bytes) -> None:
    """The error names stream and version, so that an operator finds the row."""
    with pytest.raises(MapperDeserialisationError, match=r"event 7 of 'payment-1025'"):
        decode("payment-1025", 7, "payment.requested", state)


@given(state=st.text().map(str.encode), topic=st.sampled_from(sorted(EVENT_BY_TOPIC)))
def test_any_text_is_read_or_refused(state: bytes, topic: str) -> None:
    """A changed row causes only the documented refusal."""
    with pytest.raises(MapperDeserialisationError):
        decode("payment-1025", 1, topic, state)


@pytest.mark.parametrize(
    "state",
    [
        encode(requested()).replace(b"RequestDeposit", b"\xff"),
        encode(requested()).replace(b"20000", b"[" * 100_000),
    ],
    ids=["not UTF-8", "nested without end"],
)
def test_bytes_that_are_not_text_are_refused(state: bytes) -> None:
    """A flipped bit makes a row unreadable, and causes no crash."""
    with pytest.raises(MapperDeserialisationError):
        decode("payment-1025", 1, "payment.requested", state)


def test_a_snapshot_that_cannot_be_read_is_refused() -> None:
    """The mapper promises this for every row."""
    with pytest.raises(MapperDeserialisationError):
        library_mapper().to_domain_event(StoredEvent("account-1", 1, SNAPSHOT_TOPIC, b"{}"))


def test_a_snapshot_has_its_accounts_stream_and_version() -> None:
    """The library asks for them."""
    account = Account(
        account_id=5, version=200, currency="USD", posted_minor=7, held_minor=3, opened_at=AT, opening_minor=0
    )

    snapshot = AccountSnapshot.take(account)

    assert (snapshot.originator_id, snapshot.originator_version, snapshot.state) == ("account-5", 200, account)


def test_who_approved_a_decision_stands_behind_its_sender() -> None:
    """An event without a second sender has the bytes that it had before."""
    approved = msgspec.structs.replace(requested(), by="key:4f1c", operator="Ada", approved_by="key:77aa")
    alone = msgspec.structs.replace(approved, approved_by=None)

    assert b'"by":"key:4f1c","operator":"Ada","approved_by":"key:77aa","data":' in encode(approved)
    assert encode(alone) == encode(approved).replace(b',"approved_by":"key:77aa"', b"")
    assert decode(approved.originator_id, 1, "payment.requested", encode(approved)) == approved


def test_an_operators_name_stands_beside_the_sender() -> None:
    """Without one the stored bytes are as they were before it could be given."""
    named = msgspec.structs.replace(requested(), by="key:4f1c", operator="Ada")
    unnamed = msgspec.structs.replace(named, operator=None)

    assert b'"by":"key:4f1c","operator":"Ada","data":' in encode(named)
    assert encode(unnamed) == encode(named).replace(b',"operator":"Ada"', b"")
    for recorded in (named, unnamed):
        assert (
            decode(recorded.originator_id, recorded.originator_version, recorded.data.TOPIC, encode(recorded))
            == recorded
        )
