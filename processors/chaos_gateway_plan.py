"""What the chaos gateway does with a call or an inquiry: every way in which a gateway can misbehave, chosen by a seed.

What is drawn follows from the seed, the idempotency key and the number of the attempt or inquiry under that key, and
from nothing else: not from the clock, the connection or who came first. So the same seed and the same keys bring the
same behaviour, and a run that went wrong can be had again. What is drawn is then fitted to what stands in the book
(`on_call`, `on_inquiry`), because the gateway lies in its answers and never in its book:

* at most one effect for each key, and what is decided is never decided again;
* an answer that says ok is true. One that breaks off may begin like it, whatever happened;
* an answer that says declined is true from then on, and so is a 4xx to the first attempt (but 408, 409, 425, 429);
* so is not_found. Whoever has been told so has a key that is sealed: a call under it that comes later is declined;
* 429 means that this attempt did nothing, which does not take back what an earlier one did;
* money that moves late (`settle_late`) has moved within the settle time, and until then an inquiry says pending.

`effect_after_all` breaks the promise of not_found on purpose: the gateway says so, and moves the money afterwards. It
never happens unless its weight is raised. A ledger that has failed the payment by then has to show a contradiction
as soon as it is told; a caller who still waits for his answer is told.
"""

import hashlib
from bisect import bisect
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final, Literal, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from processors.demo_gateway_plan import Decision

RequestKind = Literal["pay", "inquire"]
Word = Literal["ok", "declined", "pending", "not_found"]

_LUCKS: Final = 4
_LUCK_BYTES: Final = 8
_LUCK_BITS: Final = 53  # as many as a float holds, so that luck never rounds to 1

T = TypeVar("T")


class Deed(Enum):
    """What becomes of the money, and of the key under which it was asked for, before anything is said."""

    NOTHING = "nothing"
    APPROVE = "approve"
    DECLINE = "decline"
    APPROVE_LATER = "approve within the settle time"
    APPROVE_AFTER_ALL = "approve after saying not_found"
    SEAL = "never approve"


class Behaviour(Enum):
    """How the gateway behaves; `KINDS` says what each one is."""

    APPROVE = "approve"
    DECLINE = "decline"
    REFUSE = "refuse"
    REFUSE_AGAIN = "refuse_again"
    TELL = "tell"
    TURN_AWAY = "turn_away"
    TURN_AWAY_UNTIL = "turn_away_until"
    SERVER_ERROR = "server_error"
    NOT_NOW = "not_now"
    SAY_PENDING = "say_pending"
    BARE_404 = "bare_404"
    REDIRECT = "redirect"
    NOT_JSON = "not_json"
    WRONG_CHARSET = "wrong_charset"
    HUGE_BODY = "huge_body"
    TIME_OUT = "time_out"
    TIME_OUT_MOVED = "time_out_moved"
    SETTLE_LATE = "settle_late"
    DRIP = "drip"
    HANG_UP = "hang_up"
    RESET_IN_BODY = "reset_in_body"
    TRUNCATED_BODY = "truncated_body"
    GARBAGE_HEAD = "garbage_head"
    CONTINUE_FIRST = "continue_first"
    CONTINUE_ONLY = "continue_only"
    CLOSE_AFTER_ANSWER = "close_after_answer"
    CLOSE_ON_NEXT = "close_on_next"
    ANSWER_TWICE = "answer_twice"
    EFFECT_AFTER_ALL = "effect_after_all"


class Kind(Struct, frozen=True):
    """What a behaviour is: in words, with the deeds that a call may bring about (each as likely as it is frequent).

    `tells` says that a whole answer with the truth leaves, however badly it is told.
    """

    what: str
    deeds: tuple[Deed, ...]
    tells: bool = False


_NO: Final = (Deed.NOTHING,)
_EITHER: Final = (Deed.NOTHING, Deed.APPROVE)
_DECIDED: Final = (Deed.APPROVE, Deed.APPROVE, Deed.APPROVE, Deed.DECLINE)

KINDS: Final[Mapping[Behaviour, Kind]] = {
    Behaviour.APPROVE: Kind("approves", (Deed.APPROVE,), tells=True),
    Behaviour.DECLINE: Kind("declines with 200", (Deed.DECLINE,), tells=True),
    Behaviour.REFUSE: Kind("declines with a 4xx", (Deed.DECLINE,), tells=True),
    Behaviour.REFUSE_AGAIN: Kind("a 4xx to a repeated call, although the first one was approved", (Deed.DECLINE,)),
    Behaviour.TELL: Kind("answers an inquiry plainly", _NO, tells=True),
    Behaviour.TURN_AWAY: Kind("429 with `Retry-After` in seconds", _NO),
    Behaviour.TURN_AWAY_UNTIL: Kind("429 with `Retry-After` as a date", _NO),
    Behaviour.SERVER_ERROR: Kind("500, 502, 503, 504 or 599", _EITHER),
    Behaviour.NOT_NOW: Kind("408, 409 or 425", _EITHER),
    Behaviour.SAY_PENDING: Kind("says `pending` or `timeout`", (*_EITHER, Deed.APPROVE_LATER)),
    Behaviour.BARE_404: Kind("404 to an inquiry, without saying `not_found`", _NO),
    Behaviour.REDIRECT: Kind("redirects to a place that says ok and moves nothing", _EITHER),
    Behaviour.NOT_JSON: Kind("200 with a body that is no JSON", _EITHER),
    Behaviour.WRONG_CHARSET: Kind("200 with JSON that is no UTF-8", _DECIDED, tells=True),
    Behaviour.HUGE_BODY: Kind("200 with a body of up to 8 MiB", _DECIDED, tells=True),
    Behaviour.TIME_OUT: Kind("says nothing, and has done nothing", _NO),
    Behaviour.TIME_OUT_MOVED: Kind("moves the money and says nothing", (Deed.APPROVE,)),
    Behaviour.SETTLE_LATE: Kind("says nothing, and moves the money within the settle time", (Deed.APPROVE_LATER,)),
    Behaviour.DRIP: Kind("answers byte by byte, past any deadline", _DECIDED, tells=True),
    Behaviour.HANG_UP: Kind("closes or resets the connection instead of answering", _EITHER),
    Behaviour.RESET_IN_BODY: Kind("resets the connection in the middle of the body", _EITHER),
    Behaviour.TRUNCATED_BODY: Kind("sends less than `Content-Length`, or no last chunk", _EITHER),
    Behaviour.GARBAGE_HEAD: Kind("sends a status line or headers that are none", _EITHER),
    Behaviour.CONTINUE_FIRST: Kind("sends 100, 102 or 103 before its answer", _DECIDED, tells=True),
    Behaviour.CONTINUE_ONLY: Kind("sends 100 and hangs up", _EITHER),
    Behaviour.CLOSE_AFTER_ANSWER: Kind("announces keep-alive, answers and closes", _DECIDED, tells=True),
    Behaviour.CLOSE_ON_NEXT: Kind("answers, and closes as the next request arrives", _DECIDED, tells=True),
    Behaviour.ANSWER_TWICE: Kind("answers twice: at once, later, or as the next request arrives", _DECIDED, tells=True),
    Behaviour.EFFECT_AFTER_ALL: Kind(
        "says nothing, then `not_found`, and then moves the money (only when asked for)", (Deed.APPROVE_AFTER_ALL,)
    ),
}
"""Every behaviour, with all that there is to say about it."""


class Weights(Struct, frozen=True, kw_only=True):
    """How often each behaviour is drawn, in proportion to the others. The fields are named for the behaviours."""

    def __post_init__(self) -> None:
        """Raise ValueError for weights by which nothing can be drawn."""
        weights = [getattr(self, name) for name in self.__struct_fields__]
        if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
            raise ValueError("weights have to be 0 or more, finite, and not all 0")

    @classmethod
    def only(cls, *behaviours: Behaviour) -> Self:
        """Give weights by which nothing but some behaviours is drawn, each as often as the others."""
        return cls(**{name: 1.0 if Behaviour(name) in behaviours else 0.0 for name in cls.__struct_fields__})

    def pick(self, luck: float) -> Behaviour:
        """Draw a behaviour by a number from 0 to 1, exclusive."""
        bounds = list(accumulate(getattr(self, name) for name in self.__struct_fields__))
        return Behaviour(self.__struct_fields__[bisect(bounds, luck * bounds[-1])])


class CallWeights(Weights, frozen=True, kw_only=True):
    """How often each behaviour is drawn for `POST /pay`."""

    approve: float = 60.0
    decline: float = 2.5
    refuse: float = 2.5
    refuse_again: float = 1.0
    turn_away: float = 2.0
    turn_away_until: float = 1.0
    server_error: float = 5.0
    not_now: float = 1.5
    say_pending: float = 2.0
    redirect: float = 1.0
    not_json: float = 1.5
    wrong_charset: float = 1.0
    huge_body: float = 1.0
    time_out: float = 2.0
    time_out_moved: float = 2.0
    settle_late: float = 1.5
    drip: float = 1.0
    hang_up: float = 2.0
    reset_in_body: float = 1.5
    truncated_body: float = 1.5
    garbage_head: float = 1.5
    continue_first: float = 1.0
    continue_only: float = 1.0
    close_after_answer: float = 1.5
    close_on_next: float = 1.5
    answer_twice: float = 1.5
    effect_after_all: float = 0.0


class InquiryWeights(Weights, frozen=True, kw_only=True):
    """How often each behaviour is drawn for `GET /payments/{id}`."""

    tell: float = 60.0
    turn_away: float = 2.0
    turn_away_until: float = 1.0
    server_error: float = 6.0
    not_now: float = 2.0
    say_pending: float = 8.0
    bare_404: float = 3.0
    redirect: float = 1.0
    not_json: float = 2.0
    wrong_charset: float = 1.0
    huge_body: float = 1.0
    time_out: float = 2.0
    drip: float = 1.0
    hang_up: float = 2.0
    reset_in_body: float = 2.0
    truncated_body: float = 2.0
    garbage_head: float = 2.0
    continue_first: float = 1.0
    continue_only: float = 1.0
    close_after_answer: float = 1.0
    close_on_next: float = 1.0
    answer_twice: float = 1.0


class Temper(Struct, frozen=True, kw_only=True):
    """How the gateway behaves in one run.

    An inquiry may go wrong `inquiries_bad_max` times for each key and is then answered plainly, so that every payment
    comes to an end; but the share `silent_share` of all keys is never told anything but pending, and stays in doubt.
    A call that hangs does so for `hang_seconds`, which is to be longer than any client's deadline. `settle_seconds` is
    within what time late money moves; at most that of the client (`GATEWAY_SETTLE_SECONDS`).
    """

    seed: int
    calls: CallWeights = CallWeights()
    inquiries: InquiryWeights = InquiryWeights()
    inquiries_bad_max: int = 2
    silent_share: float = 0.01
    hang_seconds: float = 10.0
    settle_seconds: float = 5.0


class Act(Struct, frozen=True):
    """What is done: the deed first, committed, and then the telling.

    `variant` and `delay` are numbers from 0 to 1, exclusive: which of several forms the telling has, and how much later
    within the settle time late money moves.
    """

    behaviour: Behaviour
    deed: Deed
    variant: float
    delay: float


class Standing(Struct, frozen=True, kw_only=True):
    """What stands in the book under a key before an act.

    `sealed` says that an inquiry was told not_found; `due` that money is on its way and has not moved yet; `lying` that
    the next inquiry is to be told not_found although money will move.
    """

    decision: Decision | None = None
    sealed: bool = False
    due: bool = False
    lying: bool = False

    @property
    def word(self) -> Word:
        """What a plain answer to an inquiry says."""
        match self.decision:
            case Decision.APPROVED:
                return "ok"
            case Decision.DECLINED:
                return "declined"
            case None:
                return "pending" if self.due else "not_found"


def draw_call(temper: Temper, *, gateway_key: str, attempt: int) -> Act:
    """Draw what happens to an attempt under a key; attempts count from 1."""
    picking, doing, variant, delay = _lucks(temper.seed, "pay", attempt, gateway_key)
    behaviour = temper.calls.pick(picking)
    return Act(behaviour, choose(KINDS[behaviour].deeds, doing), variant, delay)


def draw_inquiry(temper: Temper, *, gateway_key: str, inquiry: int) -> Act:
    """Draw how an inquiry under a key is answered; inquiries count from 1."""
    picking, _, variant, delay = _lucks(temper.seed, "inquire", inquiry, gateway_key)
    if is_silent(temper, gateway_key=gateway_key):
        behaviour = Behaviour.SAY_PENDING
    elif inquiry > temper.inquiries_bad_max:
        behaviour = Behaviour.TELL
    else:
        behaviour = temper.inquiries.pick(picking)
    return Act(behaviour, Deed.NOTHING, variant, delay)


def is_silent(temper: Temper, *, gateway_key: str) -> bool:
    """Tell whether inquiries under a key are never told anything but pending."""
    return _lucks(temper.seed, "inquire", 0, gateway_key)[0] < temper.silent_share


def on_call(drawn: Act, standing: Standing) -> Act:
    """Fit what was drawn for a call to what stands in the book: decided once, declined once sealed, told truly."""
    deed = _deed(drawn.deed, standing)
    decision = standing.decision or {Deed.APPROVE: Decision.APPROVED, Deed.DECLINE: Decision.DECLINED}.get(deed)
    return replace(drawn, deed=deed, behaviour=_telling(drawn.behaviour, decision, is_new=deed is not Deed.NOTHING))


def on_inquiry(drawn: Act, standing: Standing) -> Act:
    """Fit what was drawn for an inquiry to what stands in the book: whoever is told not_found may rely on it."""
    if standing.word != "not_found" or not KINDS[drawn.behaviour].tells:
        return drawn
    return replace(drawn, deed=Deed.APPROVE_AFTER_ALL if standing.lying else Deed.SEAL)


def choose(forms: Sequence[T], luck: float) -> T:
    """Choose one of several, each as likely as the others, by a number from 0 to 1, exclusive."""
    return forms[int(luck * len(forms))]


def _deed(drawn: Deed, standing: Standing) -> Deed:
    if standing.decision is not None or drawn is Deed.NOTHING:
        return Deed.NOTHING
    if standing.sealed:
        return Deed.DECLINE
    if standing.due and drawn in {Deed.APPROVE_LATER, Deed.APPROVE_AFTER_ALL}:
        return Deed.NOTHING
    return drawn


def _telling(drawn: Behaviour, decision: Decision | None, *, is_new: bool) -> Behaviour:
    """Say which behaviour it is in truth, once it is known what was decided, now or before."""
    match drawn, decision:
        case ((Behaviour.DECLINE | Behaviour.REFUSE), Decision.APPROVED):
            return Behaviour.APPROVE
        case Behaviour.APPROVE, Decision.DECLINED:
            return Behaviour.DECLINE
        case Behaviour.REFUSE_AGAIN, Decision.DECLINED:
            return Behaviour.REFUSE
        case (
            (Behaviour.TIME_OUT | Behaviour.TIME_OUT_MOVED | Behaviour.SETTLE_LATE | Behaviour.EFFECT_AFTER_ALL),
            Decision.APPROVED,
        ):
            return Behaviour.TIME_OUT_MOVED
        case ((Behaviour.TIME_OUT_MOVED | Behaviour.SETTLE_LATE | Behaviour.EFFECT_AFTER_ALL), Decision.DECLINED):
            return Behaviour.TIME_OUT
        case ((Behaviour.SETTLE_LATE | Behaviour.EFFECT_AFTER_ALL), None) if not is_new:
            return Behaviour.TIME_OUT
        case _:
            return drawn


def _lucks(seed: int, request: RequestKind, number: int, gateway_key: str) -> tuple[float, ...]:
    drawn = hashlib.sha256(f"{seed}:{request}:{number}:{gateway_key}".encode()).digest()
    parts = (drawn[_LUCK_BYTES * n : _LUCK_BYTES * (n + 1)] for n in range(_LUCKS))
    return tuple((int.from_bytes(part) >> 8 * _LUCK_BYTES - _LUCK_BITS) / (1 << _LUCK_BITS) for part in parts)
