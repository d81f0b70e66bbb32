"""Stored bytes and back: nothing is lost, old shapes are read, and what is unknown is refused."""

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
import pytest
from eventsourcing.persistence import JSONTranscoder, MapperDeserialisationError, StoredEvent
from hypothesis import given
from hypothesis import strategies as st

from ledger import mapper
from ledger.account import Account
from ledger.events import EVENT_BY_TOPIC, AnyEvent, Event, IdempotencyKey, PaymentParked, PaymentRequested, Recorded
from ledger.mapper import (
    SNAPSHOT_TOPIC,
    AccountSnapshot,
    LedgerMapper,
    decode,
    decode_snapshot,
    encode,
    encode_snapshot,
)

AT = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
TIMES = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))  # noqa: DTZ001
INT64 = st.integers(-(2**63), 2**63 - 1)


def events_of(event_class: type[AnyEvent]) -> st.SearchStrategy[AnyEvent]:
    """Any event of a class, drawn field by field from what its annotations allow."""
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "idempotency": st.none() | st.builds(IdempotencyKey, scope=TEXTS, key=TEXTS, fingerprint=TEXTS),
        "kind": st.sampled_from(["deposit", "withdraw"]),
        "late": st.booleans(),
        "retry_at": st.none() | TIMES,
        "inquire_at": st.none() | TIMES,
        "http_status": st.none() | INT64,
    }
    choices = {
        "payment.gateway_attempted": {"outcome": ["approved", "declined", "turned_away", "unknown"]},
        "payment.inquired": {"answer": ["approved", "declined", "no_clear_answer"]},
        "payment.resolved": {"outcome": ["success", "failed"]},
        "payment.succeeded": {"ended_by": ["gateway", "inquiry", "resolution", "reconciliation"]},
        "payment.failed": {"ended_by": ["request", "gateway", "inquiry", "resolution"]},
    }
    drawn: dict[str, st.SearchStrategy[Any]] = {}
    for field in msgspec.structs.fields(event_class):
        if (values := choices.get(event_class.TOPIC, {}).get(field.name)) is not None:
            drawn[field.name] = st.sampled_from(values)
        elif field.name in kinds:
            drawn[field.name] = kinds[field.name]
        elif "int" in str(field.type):
            drawn[field.name] = INT64
        else:
            drawn[field.name] = TEXTS if field.required else st.none() | TEXTS
    return st.builds(event_class, **drawn)


def recordings(events: st.SearchStrategy[AnyEvent]) -> st.SearchStrategy[Recorded[AnyEvent]]:
    """Events with where and when they happened."""
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


def requested(**facts: Any) -> Recorded[AnyEvent]:
    """A deposit that was requested."""
    data = PaymentRequested(
        payment_id=1025,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
        idempotency=IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/20000"),
    )
    where = {"originator_id": "payment-1025", "originator_version": 1}
    return Recorded(**{**where, "at": AT, "command_id": "r-1", "cause": "RequestDeposit", "data": data, **facts})


def library_mapper() -> LedgerMapper:
    """The mapper as `eventsourcing` makes it."""
    return LedgerMapper(JSONTranscoder())


# --- there and back --------------------------------------------------------------------------------------------------


@given(recorded=recordings(ANY_EVENT))
def test_what_is_read_is_what_was_written(recorded: Recorded[AnyEvent]) -> None:
    """Every event, whatever its fields hold, through our own functions and through the library's mapper."""
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
def test_a_snapshot_is_the_account_as_it_was(account: Account) -> None:
    """Through our own functions and through the library's mapper."""
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
    """One object: when, by which command and why, and the event under `data`; what is at its default is left out."""
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


def test_the_stored_bytes_of_an_event_do_not_change_from_release_to_release() -> None:
    """The order of the fields counts too: an import elsewhere has to give the same digests."""
    parked = PaymentParked(payment_id=1, series=1, reason="pending")

    state = encode(requested(data=parked, cause="RecordInquiry"))

    assert state == (
        b'{"at":"2026-11-23T12:00:00.123456Z","command_id":"r-1","cause":"RecordInquiry",'
        b'"data":{"payment_id":1,"series":1,"reason":"pending"}}'
    )


def test_times_are_read_in_utc() -> None:
    """Also when somebody stored them with another offset."""
    state = encode(requested()).replace(b"12:00:00.123456Z", b"14:00:00.123456+02:00")

    recorded = decode("payment-1025", 1, "payment.requested", state)

    assert recorded.at == AT
    assert recorded.at.utcoffset() is not None


def test_only_what_we_know_how_to_store_is_stored() -> None:
    """Anything else that the library might pass in is a mistake of ours."""
    with pytest.raises(AssertionError):
        library_mapper().to_stored_event(StoredEvent("payment-1", 1, "payment.requested", b"{}"))  # type: ignore[arg-type]


# --- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "topic", ["payment.refunded", "", "Payment.requested", "ledger.events:PaymentRequested", "account.snapshot"]
)
def test_a_topic_that_is_not_in_the_registry_is_refused(topic: str) -> None:
    """The registry is closed, and no topic is an import path."""
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
def test_bytes_that_are_no_such_event_are_refused(state: bytes) -> None:
    """With stream and version, so that an operator finds the row."""
    with pytest.raises(MapperDeserialisationError, match=r"event 7 of 'payment-1025'"):
        decode("payment-1025", 7, "payment.requested", state)


@given(state=st.text().map(str.encode), topic=st.sampled_from(sorted(EVENT_BY_TOPIC)))
def test_any_text_is_read_or_refused(state: bytes, topic: str) -> None:
    """A changed row breaks no reader in another way than by the refusal that it knows."""
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
def test_bytes_that_are_no_text_are_refused_too(state: bytes) -> None:
    """A row with a flipped bit is a row that cannot be read, and not a crash."""
    with pytest.raises(MapperDeserialisationError):
        decode("payment-1025", 1, "payment.requested", state)


def test_a_snapshot_that_cannot_be_read_is_refused() -> None:
    """As the mapper promises for every row."""
    with pytest.raises(MapperDeserialisationError):
        library_mapper().to_domain_event(StoredEvent("account-1", 1, SNAPSHOT_TOPIC, b"{}"))


# --- shapes that change ----------------------------------------------------------------------------------------------


class PaymentParkedV3(Event, frozen=True, kw_only=True):
    """What `payment.parked` might look like after two changes: `reason` became `why`, then `asked` was added."""

    TOPIC: ClassVar[str] = "payment.parked"
    VERSION: ClassVar[int] = 3
    payment_id: int
    series: int
    why: str
    asked: int


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    """From version 1 to 2: the reason is called why."""
    return {**{name: value for name, value in data.items() if name != "reason"}, "why": data["reason"]}


def counted(data: dict[str, Any]) -> dict[str, Any]:
    """From version 2 to 3: inquiries are counted, and there had been one."""
    return {**data, "asked": 1}


@pytest.fixture
def changed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in which `payment.parked` is at version 3."""

    class Stored(mapper._Stored, frozen=True, kw_only=True):
        data: PaymentParkedV3

    monkeypatch.setitem(EVENT_BY_TOPIC, "payment.parked", PaymentParkedV3)
    monkeypatch.setitem(mapper._decoders, "payment.parked", msgspec.json.Decoder(Stored))
    monkeypatch.setitem(mapper.UPCASTS, ("payment.parked", 1), renamed)
    monkeypatch.setitem(mapper.UPCASTS, ("payment.parked", 2), counted)


def parked(data: dict[str, Any], *, version: int | None) -> bytes:
    """A stored event of one version."""
    outer = {"at": "2026-11-23T12:00:00.123456Z", "command_id": "r-1", "cause": "RecordInquiry"}
    return json.dumps({**outer, **({} if version is None else {"version": version}), "data": data}).encode()


@pytest.mark.usefixtures("changed_shape")
@pytest.mark.parametrize(
    ("version", "data", "asked"),
    [
        (None, {"payment_id": 1, "series": 2, "reason": "pending"}, 1),
        (1, {"payment_id": 1, "series": 2, "reason": "pending"}, 1),
        (2, {"payment_id": 1, "series": 2, "why": "pending"}, 1),
        (3, {"payment_id": 1, "series": 2, "why": "pending", "asked": 5}, 5),
        # An old event that happens to fit today's shape is upcast all the same.
        (2, {"payment_id": 1, "series": 2, "why": "pending", "asked": 5}, 1),
    ],
)
def test_an_event_of_an_older_shape_is_brought_to_todays_step_by_step(
    version: int | None, data: dict[str, Any], asked: int
) -> None:
    """Stored bytes stay as they are; no version means the first."""
    recorded: Recorded[Any] = decode("payment-1", 4, "payment.parked", parked(data, version=version))

    assert recorded.data == PaymentParkedV3(payment_id=1, series=2, why="pending", asked=asked)
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("payment-1", 4, AT)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("r-1", "RecordInquiry", None)


@pytest.mark.usefixtures("changed_shape")
def test_an_event_of_todays_shape_is_stored_with_its_version() -> None:
    """Only the first version goes without saying."""
    event = PaymentParkedV3(payment_id=1, series=2, why="pending", asked=5)

    state = encode(requested(data=event))
    recorded: Recorded[Any] = decode("payment-1025", 1, "payment.parked", state)

    assert json.loads(state)["version"] == 3
    assert recorded.data == event


@pytest.mark.usefixtures("changed_shape")
@pytest.mark.parametrize("version", [4, 1000, 2**62])
@pytest.mark.parametrize(
    "data", [{"payment_id": 1, "series": 2, "why": "pending", "asked": 5}, {"payment_id": 1, "reason_code": 9}]
)
def test_an_event_of_a_newer_program_is_refused(version: int, data: dict[str, Any]) -> None:
    """Whether or not its shape happens to fit: what it means is not known here."""
    with pytest.raises(MapperDeserialisationError, match=f"it has version {version}, made by a newer program"):
        decode("payment-1", 4, "payment.parked", parked(data, version=version))


@pytest.mark.parametrize("version", [0, -1])
def test_an_event_of_a_version_that_never_was_is_refused(version: int) -> None:
    """Versions count from 1."""
    state = parked({"payment_id": 1, "series": 2, "reason": "pending"}, version=version)

    with pytest.raises(MapperDeserialisationError):
        decode("payment-1", 4, "payment.parked", state)


@pytest.mark.usefixtures("changed_shape")
def test_an_older_shape_without_its_upcast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that was forgotten shows at once, and not as an event with a hole."""
    monkeypatch.delitem(mapper.UPCASTS, ("payment.parked", 2))

    with pytest.raises(MapperDeserialisationError):
        decode("payment-1", 4, "payment.parked", parked({"payment_id": 1, "series": 2, "reason": "x"}, version=1))


def test_every_version_before_todays_can_be_upcast() -> None:
    """For each event there is a step from every version that it ever had."""
    steps = {(topic, version) for topic, cls in EVENT_BY_TOPIC.items() for version in range(1, cls.VERSION)}

    assert steps == set(mapper.UPCASTS)


def test_a_field_that_a_program_does_not_know_is_passed_over() -> None:
    """A field with a default may be added without a new version; older programs read on."""
    state = parked({"payment_id": 1, "series": 2, "reason": "pending", "more": [1]}, version=1)

    assert decode("payment-1", 4, "payment.parked", state).data == PaymentParked(
        payment_id=1, series=2, reason="pending"
    )


def test_a_snapshot_knows_its_accounts_stream_and_version() -> None:
    """As the library asks for them."""
    account = Account(
        account_id=5, version=200, currency="USD", posted_minor=7, held_minor=3, opened_at=AT, opening_minor=0
    )

    snapshot = AccountSnapshot.take(account)

    assert (snapshot.originator_id, snapshot.originator_version, snapshot.state) == ("account-5", 200, account)
