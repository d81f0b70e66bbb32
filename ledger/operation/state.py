"""The state of a gateway, and the pure functions that change it.

A pause and an open breaker are independent: after an operator has resumed a gateway, its breaker may still be open.
"""

from datetime import datetime
from typing import Final, Literal, assert_never

from msgspec import Struct
from msgspec.structs import replace

from ledger.domain.events import GatewayChange, GatewayChanged, Recorded

GATEWAY: Final = "gateway"
"""The name of the gateway of a ledger that has one."""

CAUSES: Final[dict[GatewayChange, str]] = {
    "paused": "pause_gateway",
    "resumed": "resume_gateway",
    "breaker_opened": "open_breaker",
    "breaker_closed": "close_breaker",
}
"""The cause of each change, as its event says."""


GatewayWord = Literal["closed", "held", "open", "paused"]
"""Whether a gateway is called, in a word: `closed` is the breaker's while it is."""


class Mark(Struct, frozen=True):
    """Since when a gateway is paused, or its breaker open, why, and by whom where somebody did it."""

    at: datetime
    why: str
    by: str | None = None


class GatewayState(Struct, frozen=True):
    """The pause by an operator and the opening of the breaker, each None while there is none."""

    paused: Mark | None = None
    opened: Mark | None = None


def is_so(state: GatewayState, change: GatewayChange) -> bool:
    """Tell whether a gateway is already as a change would make it."""
    match change:
        case "paused":
            return state.paused is not None
        case "resumed":
            return state.paused is None
        case "breaker_opened":
            return state.opened is not None
        case "breaker_closed":
            return state.opened is None
        case never:
            assert_never(never)


def evolve_gateway(state: GatewayState, recorded: Recorded[GatewayChanged]) -> GatewayState:
    """Apply an event to the state of its gateway."""
    event = recorded.data
    mark = Mark(recorded.at, event.why, recorded.by)
    match event.change:
        case "paused":
            return replace(state, paused=mark)
        case "resumed":
            return replace(state, paused=None)
        case "breaker_opened":
            return replace(state, opened=mark)
        case "breaker_closed":
            return replace(state, opened=None)
        case never:
            assert_never(never)
