"""Encodes events to stored bytes and decodes them.

The stored bytes are one JSON object, readable in psql: `at`, `command_id`, `cause`, `by`, `operator` and `approved_by`
where known, `version` of the event's shape where it is not 1, and the event itself under `data`. `eventsourcing` uses
`LedgerMapper`; the writer calls `encode` and `decode` directly.

An event that was stored in an older shape is upcast to the current shape by the functions in `UPCASTS`, one for each
step, which change the decoded JSON of `data`. The stored bytes, and so their seal, stay unchanged.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import msgspec
from eventsourcing.domain import DomainEventProtocol
from eventsourcing.persistence import Mapper, MapperDeserialisationError, StoredEvent
from msgspec import Struct

from ledger.domain.account import Account
from ledger.domain.events import EVENT_BY_TOPIC, AnyEvent, PaymentInquired, Recorded

SNAPSHOT_TOPIC: Final = "account.snapshot/1"
"""Ends with the version of `Account`'s shape. Readers skip snapshots of another version and use the events instead."""


def _not_found_is_an_answer(data: dict[str, Any]) -> dict[str, Any]:
    """Name the answer `not_found`, which was stored as `declined` with the error `not_found`."""
    not_found = (data.get("answer"), data.get("error")) == ("declined", "not_found")
    return data | {"answer": "not_found"} if not_found else data


UPCASTS: Final[dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]] = {
    (PaymentInquired.TOPIC, 1): _not_found_is_an_answer
}
"""The function that turns the `data` of (topic, version) into that of the next version."""


class _Stored(Struct, frozen=True, kw_only=True, omit_defaults=True):
    at: datetime
    command_id: str
    cause: str
    by: str | None = None
    operator: str | None = None
    approved_by: str | None = None
    version: int = 1
    data: Any


class AccountSnapshot(Struct, frozen=True, kw_only=True):
    """An account at one of its versions, so that a reader needs only the events after it."""

    originator_id: str
    originator_version: int
    state: Account

    @classmethod
    def take(cls, aggregate: Account) -> "AccountSnapshot":
        """Take a snapshot of an account at its current version."""
        return cls(originator_id=aggregate.id, originator_version=aggregate.version, state=aggregate)


_UNREADABLE: Final = (KeyError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The errors that decoding raises for an unknown topic, another shape, and bytes that are not JSON."""

_encoder: Final = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    topic: msgspec.json.Decoder(
        msgspec.defstruct(f"_Stored_{cls.__name__}", [("data", cls)], bases=(_Stored,), kw_only=True)
    )
    for topic, cls in EVENT_BY_TOPIC.items()
}
_any_decoder: Final = msgspec.json.Decoder(_Stored)
_snapshot_decoder: Final = msgspec.json.Decoder(Account)


def encode(recorded: Recorded[AnyEvent]) -> bytes:
    """Encode an event to its stored bytes."""
    data = recorded.data
    return _encoder.encode(
        _Stored(
            at=recorded.at,
            command_id=recorded.command_id,
            cause=recorded.cause,
            by=recorded.by,
            operator=recorded.operator,
            approved_by=recorded.approved_by,
            version=data.VERSION,
            data=data,
        )
    )


def decode(originator_id: str, originator_version: int, topic: str, state: bytes) -> Recorded[AnyEvent]:
    """Decode a stored event and upcast it to the current shape of its class.

    Raises MapperDeserialisationError for a topic that is not in the registry, and for bytes that are not such an event.
    """
    try:
        stored = _decode_stored(topic, state)
    except _UNREADABLE as error:
        raise _unreadable(originator_id, originator_version, topic, error) from error
    return Recorded(
        originator_id=originator_id,
        originator_version=originator_version,
        at=stored.at,
        command_id=stored.command_id,
        cause=stored.cause,
        by=stored.by,
        operator=stored.operator,
        approved_by=stored.approved_by,
        data=stored.data,
    )


def is_canonical(recorded: Recorded[AnyEvent], topic: str, state: bytes) -> bool:
    """Tell whether stored bytes are those that `encode` writes for the event that they were decoded to.

    If they are not, a reader of another kind may read another event from them. Bytes of an older shape cannot be
    compared, and pass.
    """
    return encode(recorded) == state or _any_decoder.decode(state).version != EVENT_BY_TOPIC[topic].VERSION


def _unreadable(originator_id: str, version: int, topic: str, error: Exception) -> MapperDeserialisationError:
    return MapperDeserialisationError(f"cannot read {topic!r}, event {version} of {originator_id!r}: {error}")


def _decode_stored(topic: str, state: bytes) -> _Stored:
    try:
        stored: _Stored = _decoders[topic].decode(state)
    except msgspec.ValidationError:
        return _upcast(topic, _any_decoder.decode(state))
    if stored.version != EVENT_BY_TOPIC[topic].VERSION:
        return _upcast(topic, _any_decoder.decode(state))
    return stored


def _upcast(topic: str, stored: _Stored) -> _Stored:
    event_class, data = EVENT_BY_TOPIC[topic], stored.data
    for version in range(stored.version, event_class.VERSION):
        data = UPCASTS[topic, version](data)
    if stored.version > event_class.VERSION:
        message = f"it has version {stored.version}, made by a newer program"
        raise msgspec.ValidationError(message)
    return msgspec.structs.replace(stored, data=msgspec.convert(data, event_class))


def encode_snapshot(account: Account) -> bytes:
    """Encode an account to the bytes of a snapshot."""
    return _encoder.encode(account)


def decode_snapshot(state: bytes) -> Account:
    """Decode an account from the bytes of a snapshot."""
    return _snapshot_decoder.decode(state)


class LedgerMapper(Mapper[str]):
    """The mapper that `eventsourcing` uses for this ledger's events and snapshots.

    It neither compresses nor encrypts, so that an auditor can read the stored bytes, which the seal covers.
    """

    def to_stored_event(self, domain_event: DomainEventProtocol[str]) -> StoredEvent:
        """Turn a `Recorded` or an `AccountSnapshot` into the library's `StoredEvent`."""
        if isinstance(domain_event, AccountSnapshot):
            topic, state = SNAPSHOT_TOPIC, encode_snapshot(domain_event.state)
        else:
            assert isinstance(domain_event, Recorded), domain_event
            topic, state = domain_event.data.TOPIC, encode(domain_event)
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=topic,
            state=state,
        )

    def to_domain_event(self, stored_event: StoredEvent) -> DomainEventProtocol[str]:
        """Turn a `StoredEvent` back into a `Recorded` or an `AccountSnapshot`. Raises MapperDeserialisationError."""
        originator_id, version = str(stored_event.originator_id), stored_event.originator_version
        if stored_event.topic == SNAPSHOT_TOPIC:
            try:
                account = decode_snapshot(stored_event.state)
            except _UNREADABLE as error:
                raise _unreadable(originator_id, version, SNAPSHOT_TOPIC, error) from error
            return AccountSnapshot(originator_id=originator_id, originator_version=version, state=account)
        return decode(originator_id, version, stored_event.topic, stored_event.state)
