"""The answer about the gateway, over HTTP and on the command line."""

from typing import ClassVar

from msgspec import Struct

from api.http.times import Timestamp, optional_timestamp
from ledger.operation.gateway import GatewayStanding
from ledger.operation.state import GatewayWord, Mark


class MarkView(Struct, frozen=True, kw_only=True):
    """Since when something is so, why, and who said so; `by` is null where a worker found it."""

    since: Timestamp | None
    why: str
    by: str | None


class GatewayView(Struct, frozen=True, kw_only=True):
    """Whether the gateway is called.

    `state` is `closed` while it is, and else the first that holds: `paused` by an operator; `open`, when the circuit
    breaker lets only probes through, the next at `probe_at`; `held` until `held_until`, because the gateway asked for
    it or could not be reached.
    """

    state: GatewayWord
    paused: MarkView | None
    open: MarkView | None
    probe_at: Timestamp | None
    held_until: Timestamp | None

    EXAMPLE: ClassVar[object] = {
        "state": "paused",
        "paused": {"since": "2026-11-23T09:30:00.000000Z", "why": "Their maintenance", "by": "Ada Lovelace"},
        "open": None,
        "probe_at": None,
        "held_until": None,
    }


def gateway_view(standing: GatewayStanding) -> GatewayView:
    """Make the answer about a gateway from its standing."""
    held_until = standing.held_until
    is_held = held_until is not None and held_until > standing.clock
    return GatewayView(
        state=standing.word,
        paused=_mark(standing.state.paused),
        open=_mark(standing.state.opened),
        probe_at=optional_timestamp(standing.probe_at),
        held_until=optional_timestamp(held_until) if is_held else None,
    )


def _mark(mark: Mark | None) -> MarkView | None:
    return None if mark is None else MarkView(since=optional_timestamp(mark.at), why=mark.why, by=mark.by)
