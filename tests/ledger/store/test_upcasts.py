"""Events stored in older shapes are upcast on reading, and those of newer programs are refused."""

import json
from typing import Any, ClassVar

import msgspec
import pytest
from eventsourcing.persistence import MapperDeserialisationError

from ledger.domain.events import EVENT_BY_TOPIC, Event, PaymentInquired, PaymentParked, Recorded
from ledger.store import serialization
from ledger.store.serialization import decode, encode
from tests.support.recorded_events import AT, requested


class PaymentParkedV3(Event, frozen=True, kw_only=True):
    """`payment.parked` after two imagined changes: `reason` became `why`, then `asked` was added."""

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
    """From version 2 to 3: inquiries are counted, and older events had one."""
    return {**data, "asked": 1}


@pytest.fixture
def changed_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program in which `payment.parked` is at version 3."""

    class Stored(serialization._Stored, frozen=True, kw_only=True):
        data: PaymentParkedV3

    monkeypatch.setitem(EVENT_BY_TOPIC, "payment.parked", PaymentParkedV3)
    monkeypatch.setitem(serialization._decoders, "payment.parked", msgspec.json.Decoder(Stored))
    monkeypatch.setitem(serialization.UPCASTS, ("payment.parked", 1), renamed)
    monkeypatch.setitem(serialization.UPCASTS, ("payment.parked", 2), counted)


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
        # An old event is upcast even if it fits the current shape.
        (2, {"payment_id": 1, "series": 2, "why": "pending", "asked": 5}, 1),
    ],
)
def test_an_event_of_an_older_shape_is_upcast_step_by_step(
    version: int | None, data: dict[str, Any], asked: int
) -> None:
    """The stored bytes stay unchanged. An event without a version has version 1."""
    recorded: Recorded[Any] = decode("payment-1", 4, "payment.parked", parked(data, version=version))

    assert recorded.data == PaymentParkedV3(payment_id=1, series=2, why="pending", asked=asked)
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("payment-1", 4, AT)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("r-1", "RecordInquiry", None)


@pytest.mark.usefixtures("changed_shape")
def test_an_event_of_the_current_shape_is_stored_with_its_version() -> None:
    """Only version 1 is stored without a number."""
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
    """It is refused even if its shape fits, because this program does not know its meaning."""
    with pytest.raises(MapperDeserialisationError, match=f"it has version {version}, made by a newer program"):
        decode("payment-1", 4, "payment.parked", parked(data, version=version))


@pytest.mark.parametrize("version", [0, -1])
def test_an_event_of_an_impossible_version_is_refused(version: int) -> None:
    """Versions count from 1."""
    state = parked({"payment_id": 1, "series": 2, "reason": "pending"}, version=version)

    with pytest.raises(MapperDeserialisationError):
        decode("payment-1", 4, "payment.parked", state)


@pytest.mark.usefixtures("changed_shape")
def test_an_older_shape_without_its_upcast_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing step is reported at once, and does not give an incomplete event."""
    monkeypatch.delitem(serialization.UPCASTS, ("payment.parked", 2))

    with pytest.raises(MapperDeserialisationError):
        decode("payment-1", 4, "payment.parked", parked({"payment_id": 1, "series": 2, "reason": "x"}, version=1))


def test_every_earlier_version_can_be_upcast() -> None:
    """Each event has a step from every earlier version."""
    steps = {(topic, version) for topic, cls in EVENT_BY_TOPIC.items() for version in range(1, cls.VERSION)}

    assert steps == set(serialization.UPCASTS)


def test_an_unknown_field_is_ignored() -> None:
    """A field with a default may be added without a new version, and older programs ignore it."""
    state = parked({"payment_id": 1, "series": 2, "reason": "pending", "more": [1]}, version=1)

    assert decode("payment-1", 4, "payment.parked", state).data == PaymentParked(
        payment_id=1, series=2, reason="pending"
    )


@pytest.mark.parametrize(
    ("answer", "error", "expected"),
    [("declined", "not_found", "not_found"), ("declined", "declined", "declined"), ("approved", None, "approved")],
)
def test_an_inquiry_of_the_first_shape_says_what_the_gateway_did_not_find(
    answer: str, error: str | None, expected: str
) -> None:
    """Version 1 knew the answer `not_found` only as the error of a decline."""
    data = {"payment_id": 7, "series": 1, "gateway_key": "payment-7", "answer": answer}
    stored = {"at": "2026-11-23T12:00:00Z", "command_id": "c", "cause": "RecordInquiry"}
    state = json.dumps({**stored, "data": data | ({"error": error} if error else {})}).encode()

    event = decode("payment-7", 3, "payment.inquired", state).data

    assert isinstance(event, PaymentInquired)
    assert (event.answer, event.error) == (expected, error)
