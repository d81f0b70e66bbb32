"""The answer about the gateway, over HTTP and on the command line."""

from collections.abc import Sequence
from typing import ClassVar, Final, get_args

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from api.http.times import Timestamp, optional_timestamp
from ledger.operation.gateway import GatewayStanding
from ledger.operation.state import GatewayWord, Mark

_STATES: Final[tuple[GatewayWord, ...]] = get_args(GatewayWord)
"""The states from the one in which the gateway is called to the one in which nothing calls it."""


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

    Each partition of a ledger has a state of its own. Where there are several, `partitions` has them, by number.
    """

    state: GatewayWord
    paused: MarkView | None
    open: MarkView | None
    probe_at: Timestamp | None
    held_until: Timestamp | None
    partitions: list[GatewayWord] | UnsetType = UNSET

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


def gateways_view(views: Sequence[GatewayView]) -> GatewayView:
    """Make the answer of those of all partitions: the one that is farthest from calling, with the state in each."""
    if len(views) == 1:
        return views[0]
    farthest = max(views, key=lambda view: _STATES.index(view.state))
    return replace(farthest, partitions=[view.state for view in views])


def _mark(mark: Mark | None) -> MarkView | None:
    return None if mark is None else MarkView(since=optional_timestamp(mark.at), why=mark.why, by=mark.by)
