"""The behaviour of the demo gateway for each call: whether it moves the money, and how it answers.

`plan` is a pure function from the call, the number of its attempt and two random numbers (`Luck`) to a `Step`. The
decision and the reply are separate, because that is the difficulty with gateways: a step may move the money and then
hang. Ordinary amounts are decided at random, in the proportions of `DemoProfile`; each amount in `MAGIC_AMOUNTS` forces
one behaviour. A call whose key already has a decision is not decided again.
"""

import hashlib
import secrets
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Final

from msgspec import Struct

from ledger.domain.identifiers import without_salt

_LUCK_BYTES: Final = 8
_MOVED_THOUGH_TIMED_OUT: Final = 0.5


class Decision(Enum):
    """The final decision about the money under one key."""

    APPROVED = "approved"
    DECLINED = "declined"


class Reply(Enum):
    """The reply to the caller, which does not depend on the decision, except for TRUTH."""

    TRUTH = "the decision in the book"
    SERVER_ERROR = "502"
    REFUSED = "402"
    TURNED_AWAY = "429 with Retry-After"
    HANG = "nothing, for longer than any client waits"
    GARBAGE = "200 with a body that is not JSON"
    DRIP = "200 with a body that comes byte by byte"
    CUT_OFF = "200 with half of a body"


class Step(Struct, frozen=True):
    """The result of one attempt: the gateway first writes the decision, if any, into the book, and then replies."""

    reply: Reply
    decision: Decision | None = None


class DemoProfile(Struct, frozen=True, kw_only=True):
    """How often the gateway fails: the shares of time-outs and of errors among all attempts without a decision yet.

    With a `seed`, the random numbers of an attempt follow from seed, key and attempt number; without one they are
    random. A hanging call hangs for `hang_seconds`, which must be longer than any client's deadline.
    """

    timeout_rate: float = 0.10
    error_rate: float = 0.25
    seed: int | None = None
    hang_seconds: float = 10.0


class Luck(Struct, frozen=True):
    """Two random numbers from 0 to 1: `ending` decides how an attempt ends, `moving` whether a time-out moved money."""

    ending: float
    moving: float


class MagicAmount(Struct, frozen=True, kw_only=True):
    """An amount that forces a behaviour: the behaviour and the payment's end in words, and the steps.

    Attempt n under a key uses step n; attempts beyond the last step use the last one. `steps_after_requeue` replace the
    steps for the keys of later series. With `inquiry_pending`, every inquiry is answered with pending.
    """

    what: str
    ends: str
    steps: tuple[Step, ...]
    steps_after_requeue: tuple[Step, ...] | None = None
    inquiry_pending: bool = False


_APPROVE: Final = Step(Reply.TRUTH, Decision.APPROVED)
_TELL: Final = Step(Reply.TRUTH)

MAGIC_AMOUNTS: Final[Mapping[Decimal, MagicAmount]] = {
    Decimal(amount): magic
    for amount, magic in {
        "9000.01": MagicAmount(what="approves", ends="success", steps=(_APPROVE,)),
        "9000.02": MagicAmount(what="declines with 200", ends="failed", steps=(Step(Reply.TRUTH, Decision.DECLINED),)),
        "9000.03": MagicAmount(
            what="declines with 402", ends="failed", steps=(Step(Reply.REFUSED, Decision.DECLINED),)
        ),
        "9000.04": MagicAmount(
            what="declines, and approves when the payment is requeued",
            ends="failed, then success",
            steps=(Step(Reply.TRUTH, Decision.DECLINED),),
            steps_after_requeue=(_APPROVE,),
        ),
        "9000.10": MagicAmount(
            what="502 once, then approves", ends="success", steps=(Step(Reply.SERVER_ERROR), _APPROVE)
        ),
        "9000.11": MagicAmount(
            what="502 always, and never moves the money", ends="failed", steps=(Step(Reply.SERVER_ERROR),)
        ),
        "9000.12": MagicAmount(
            what="502 always, but moves the money: only an inquiry tells",
            ends="success",
            steps=(Step(Reply.SERVER_ERROR, Decision.APPROVED),),
        ),
        "9000.20": MagicAmount(
            what="times out once after moving the money",
            ends="success",
            steps=(Step(Reply.HANG, Decision.APPROVED), _TELL),
        ),
        "9000.21": MagicAmount(
            what="times out once before moving the money, then approves",
            ends="success",
            steps=(Step(Reply.HANG), _APPROVE),
        ),
        "9000.22": MagicAmount(
            what="times out always, but moves the money: only an inquiry tells",
            ends="success",
            steps=(Step(Reply.HANG, Decision.APPROVED),),
        ),
        "9000.23": MagicAmount(
            what="times out always, and never moves the money", ends="failed", steps=(Step(Reply.HANG),)
        ),
        "9000.30": MagicAmount(
            what="answers garbage once after moving the money",
            ends="success",
            steps=(Step(Reply.GARBAGE, Decision.APPROVED), _TELL),
        ),
        "9000.31": MagicAmount(
            what="answers byte by byte once, past any deadline, after moving the money",
            ends="success",
            steps=(Step(Reply.DRIP, Decision.APPROVED), _TELL),
        ),
        "9000.32": MagicAmount(
            what="breaks off within its answer once after moving the money",
            ends="success",
            steps=(Step(Reply.CUT_OFF, Decision.APPROVED), _TELL),
        ),
        "9000.40": MagicAmount(
            what="429 with Retry-After once, then approves",
            ends="success",
            steps=(Step(Reply.TURNED_AWAY), _APPROVE),
        ),
        "9000.41": MagicAmount(what="429 with Retry-After always", ends="failed", steps=(Step(Reply.TURNED_AWAY),)),
        "9000.50": MagicAmount(
            what="502 always, never moves the money, and answers every inquiry with pending",
            ends="in doubt",
            steps=(Step(Reply.SERVER_ERROR),),
            inquiry_pending=True,
        ),
        "9000.51": MagicAmount(
            what="502 always, moves the money, and answers every inquiry with pending",
            ends="in doubt",
            steps=(Step(Reply.SERVER_ERROR, Decision.APPROVED),),
            inquiry_pending=True,
        ),
    }.items()
}
"""Every amount that forces a behaviour."""


def plan(*, amount: Decimal, attempt: int, requeued: bool, decided: bool, luck: Luck, profile: DemoProfile) -> Step:
    """Return the step of an attempt; `attempt` counts from 1 under its key."""
    magic = MAGIC_AMOUNTS.get(amount)
    if magic is not None:
        steps = magic.steps_after_requeue if requeued and magic.steps_after_requeue else magic.steps
        return steps[min(attempt, len(steps)) - 1]
    if decided:
        return _TELL
    if luck.ending < profile.timeout_rate:
        return Step(Reply.HANG, Decision.APPROVED if luck.moving < _MOVED_THOUGH_TIMED_OUT else None)
    if luck.ending < profile.timeout_rate + profile.error_rate:
        return Step(Reply.SERVER_ERROR)
    return _APPROVE


def luck_of(*, seed: int | None, gateway_key: str, attempt: int) -> Luck:
    """Draw the random numbers of an attempt: from seed, key and number if there is a seed, otherwise at random."""
    if seed is None:
        drawn = secrets.token_bytes(2 * _LUCK_BYTES)
    else:
        drawn = hashlib.sha256(f"{seed}:{attempt}:{without_salt(gateway_key)}".encode()).digest()
    return Luck(_share(drawn[:_LUCK_BYTES]), _share(drawn[_LUCK_BYTES : 2 * _LUCK_BYTES]))


def is_of_a_later_series(*, gateway_key: str, payment_id: int) -> bool:
    """Tell whether a key is that of a requeued payment, such as `payment-7-2`."""
    return gateway_key.startswith(f"payment-{payment_id}-")


def _share(drawn: bytes) -> float:
    return int.from_bytes(drawn) / (1 << 8 * _LUCK_BYTES)
