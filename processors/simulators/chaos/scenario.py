"""The behaviour of the chaos gateway for each call and inquiry: every way in which a gateway can misbehave, by a seed.

A draw depends only on the seed, the idempotency key and the number of the attempt or inquiry under that key. It does
not depend on the clock, the connection or the order of the calls, so the same seed and keys give the same behaviour and
a failed run can be repeated. The draw is then adapted to the entry in the book (`on_call`, `on_inquiry`), because the
gateway's answers may be false but its book never is:

* There is at most one effect for each key, and a decision never changes.
* A whole answer that says ok is true. A broken-off answer may begin like one even when no money moved.
* An answer that says declined is true from then on. A 4xx to the first attempt is too, except 408, 409, 425 and 429.
* An answer that says not_found is true from then on too: it seals the key, and later calls under the key are declined.
* 429 means that this attempt had no effect; the effect of an earlier attempt stays.
* Late money (`settle_late`) moves within the settle time, and until then inquiries are answered with pending.

`effect_after_all` breaks the promise of not_found on purpose: the gateway says not_found and moves the money
afterwards. It happens only when its weight or its share is raised. A ledger that has failed the payment must then
record a contradiction when it hears of the money; the gateway does answer a call that still waits.

A share of the keys can be given a habit, which decides about every call under the key (`ChaosProfile`).
"""

import hashlib
from bisect import bisect
from collections.abc import Mapping, Sequence
from enum import Enum
from itertools import accumulate
from typing import Final, Literal, Self, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from ledger.domain.identifiers import without_salt
from processors.simulators.demo.scenario import Decision

RequestKind = Literal["pay", "inquire"]
Word = Literal["ok", "declined", "pending", "not_found"]

ROW_ATTEMPTS: Final = 4
"""The length of a row of 429. A row that begins at the first attempt is longer than a series of three attempts."""

_LUCKS: Final = 4
_LUCK_BYTES: Final = 8
_LUCK_BITS: Final = 53  # the precision of a float, so that a number below 1 never rounds to 1

T = TypeVar("T")


class Effect(Enum):
    """The effect of an act on the money and on its key, which is committed before the answer."""

    NOTHING = "nothing"
    APPROVE = "approve"
    DECLINE = "decline"
    APPROVE_LATER = "approve within the settle time"
    APPROVE_AFTER_ALL = "approve after saying not_found"
    SEAL = "never approve"


class Behaviour(Enum):
    """The behaviours of the gateway; `KINDS` describes each of them."""

    APPROVE = "approve"
    DECLINE = "decline"
    REFUSE = "refuse"
    REFUSE_AGAIN = "refuse_again"
    DUPLICATE = "duplicate"
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
    """The description of a behaviour, and the effects that a call may have; an effect listed twice is twice as likely.

    `tells` says that the gateway sends a whole and true answer, even if it sends it in a strange way.
    """

    what: str
    effects: tuple[Effect, ...]
    tells: bool = False


_NO: Final = (Effect.NOTHING,)
_EITHER: Final = (Effect.NOTHING, Effect.APPROVE)
_DECIDED: Final = (Effect.APPROVE, Effect.APPROVE, Effect.APPROVE, Effect.DECLINE)

KINDS: Final[Mapping[Behaviour, Kind]] = {
    Behaviour.APPROVE: Kind("approves", (Effect.APPROVE,), tells=True),
    Behaviour.DECLINE: Kind("declines with 200", (Effect.DECLINE,), tells=True),
    Behaviour.REFUSE: Kind("declines with a 4xx", (Effect.DECLINE,), tells=True),
    Behaviour.REFUSE_AGAIN: Kind("a 4xx to a repeated call, although the first one was approved", (Effect.DECLINE,)),
    Behaviour.DUPLICATE: Kind(
        "422 `duplicate` to every repeated call under a key (only when asked for)", (Effect.DECLINE,)
    ),
    Behaviour.TELL: Kind("answers an inquiry plainly", _NO, tells=True),
    Behaviour.TURN_AWAY: Kind("429 with `Retry-After` in seconds", _NO),
    Behaviour.TURN_AWAY_UNTIL: Kind("429 with `Retry-After` as a date", _NO),
    Behaviour.SERVER_ERROR: Kind("500, 502, 503, 504 or 599", _EITHER),
    Behaviour.NOT_NOW: Kind("408, 409 or 425", _EITHER),
    Behaviour.SAY_PENDING: Kind("says `pending` or `timeout`", (*_EITHER, Effect.APPROVE_LATER)),
    Behaviour.BARE_404: Kind("404 to an inquiry, without saying `not_found`", _NO),
    Behaviour.REDIRECT: Kind("redirects to a place that says ok and moves nothing", _EITHER),
    Behaviour.NOT_JSON: Kind("200 with a body that is not JSON", _EITHER),
    Behaviour.WRONG_CHARSET: Kind("200 with JSON that is not UTF-8", _DECIDED, tells=True),
    Behaviour.HUGE_BODY: Kind("200 with a body of up to 8 MiB", _DECIDED, tells=True),
    Behaviour.TIME_OUT: Kind("says nothing, and has done nothing", _NO),
    Behaviour.TIME_OUT_MOVED: Kind("moves the money and says nothing", (Effect.APPROVE,)),
    Behaviour.SETTLE_LATE: Kind("says nothing, and moves the money within the settle time", (Effect.APPROVE_LATER,)),
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
        "says nothing, then `not_found`, and then moves the money (only when asked for)", (Effect.APPROVE_AFTER_ALL,)
    ),
}
"""The description of every behaviour."""


class Weights(Struct, frozen=True, kw_only=True):
    """How often each behaviour is drawn, in proportion to the others. The fields are named for the behaviours."""

    def __post_init__(self) -> None:
        """Raise ValueError for weights that are negative, infinite or all 0."""
        weights = [getattr(self, name) for name in self.__struct_fields__]
        if not all(0 <= weight < float("inf") for weight in weights) or not any(weights):
            raise ValueError("weights must be 0 or more, finite, and not all 0")

    @classmethod
    def only(cls, *behaviours: Behaviour) -> Self:
        """Return weights that draw only these behaviours, all equally often."""
        return cls(**{name: 1.0 if Behaviour(name) in behaviours else 0.0 for name in cls.__struct_fields__})

    def pick(self, luck: float) -> Behaviour:
        """Return the behaviour for a number from 0 to 1, exclusive."""
        bounds = list(accumulate(getattr(self, name) for name in self.__struct_fields__))
        return Behaviour(self.__struct_fields__[bisect(bounds, luck * bounds[-1])])


class CallWeights(Weights, frozen=True, kw_only=True):
    """How often each behaviour is drawn for `POST /pay`."""

    approve: float = 60.0
    decline: float = 2.5
    refuse: float = 2.5
    refuse_again: float = 1.0
    duplicate: float = 0.0
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


class ChaosProfile(Struct, frozen=True, kw_only=True):
    """The settings of the gateway's behaviour in one run.

    Under each key, the first `inquiries_bad_max` inquiries may be misanswered and later ones are answered plainly, so
    that every payment ends. For the share `silent_share` of all keys, every inquiry is answered with pending, and their
    payments stay in doubt. A hanging call hangs for `hang_seconds`, which must be longer than any client's deadline.
    Late money moves within `settle_seconds`, which must be at most the client's own (`GATEWAY_INQUIRY_DELAY_SECONDS`).

    Three shares of the keys have a habit each: every repeated call is refused as a duplicate; `ROW_ATTEMPTS` calls in a
    row, the first or the second and those that follow, are answered with 429; every call has its effect after all.
    """

    seed: int
    calls: CallWeights = CallWeights()
    inquiries: InquiryWeights = InquiryWeights()
    inquiries_bad_max: int = 2
    silent_share: float = 0.01
    hang_seconds: float = 10.0
    settle_seconds: float = 5.0
    duplicate_share: float = 0.0
    row_share: float = 0.0
    after_all_share: float = 0.0


class DrawnAct(Struct, frozen=True):
    """A drawn act: the effect, which is committed first, and the behaviour of the answer.

    `variant` and `delay` are numbers from 0 to 1, exclusive: `variant` chooses one of the forms of the answer, and
    `delay` the time, within the settle time, after which late money moves.
    """

    behaviour: Behaviour
    effect: Effect
    variant: float
    delay: float


class Standing(Struct, frozen=True, kw_only=True):
    """The state of a key in the book before an act.

    `sealed` says that an inquiry was answered with not_found, `due` that late money has not moved yet, and `lying` that
    the next inquiry is answered with not_found although money will move.
    """

    decision: Decision | None = None
    sealed: bool = False
    due: bool = False
    lying: bool = False

    @property
    def word(self) -> Word:
        """The status word of a plain answer to an inquiry."""
        match self.decision:
            case Decision.APPROVED:
                return "ok"
            case Decision.DECLINED:
                return "declined"
            case None:
                return "pending" if self.due else "not_found"


def draw_call(profile: ChaosProfile, *, gateway_key: str, attempt: int) -> DrawnAct:
    """Draw the act for an attempt under a key; attempts count from 1."""
    picking, doing, variant, delay = _lucks(profile.seed, "pay", attempt, gateway_key)
    behaviour = _habitual(profile, gateway_key=gateway_key, attempt=attempt) or profile.calls.pick(picking)
    return DrawnAct(behaviour, choose(KINDS[behaviour].effects, doing), variant, delay)


def draw_inquiry(profile: ChaosProfile, *, gateway_key: str, inquiry: int) -> DrawnAct:
    """Draw the act for an inquiry under a key; inquiries count from 1."""
    picking, _, variant, delay = _lucks(profile.seed, "inquire", inquiry, gateway_key)
    if is_silent(profile, gateway_key=gateway_key):
        behaviour = Behaviour.SAY_PENDING
    elif inquiry > profile.inquiries_bad_max:
        behaviour = Behaviour.TELL
    else:
        behaviour = profile.inquiries.pick(picking)
    return DrawnAct(behaviour, Effect.NOTHING, variant, delay)


def is_silent(profile: ChaosProfile, *, gateway_key: str) -> bool:
    """Tell whether every inquiry under a key is answered with pending."""
    return _lucks(profile.seed, "inquire", 0, gateway_key)[0] < profile.silent_share


def _habitual(profile: ChaosProfile, *, gateway_key: str, attempt: int) -> Behaviour | None:
    """Return the behaviour that the habit of a key demands for an attempt; None leaves it to the weights."""
    luck, start, *_ = _lucks(profile.seed, "pay", 0, gateway_key)
    if luck < (bound := profile.duplicate_share):
        return Behaviour.DUPLICATE if attempt > 1 else None
    if luck < (bound := bound + profile.row_share):
        first = choose((1, 2), start)
        return Behaviour.TURN_AWAY if first <= attempt < first + ROW_ATTEMPTS else None
    return Behaviour.EFFECT_AFTER_ALL if luck < bound + profile.after_all_share else None


def on_call(drawn: DrawnAct, standing: Standing) -> DrawnAct:
    """Adapt a draw for a call to the state of its key: a decision stays, a sealed key declines, the answer is true."""
    effect = _effect(drawn, standing)
    decision = standing.decision or {Effect.APPROVE: Decision.APPROVED, Effect.DECLINE: Decision.DECLINED}.get(effect)
    return replace(
        drawn, effect=effect, behaviour=_true_behaviour(drawn.behaviour, decision, is_new=effect is not Effect.NOTHING)
    )


def on_inquiry(drawn: DrawnAct, standing: Standing) -> DrawnAct:
    """Adapt a draw for an inquiry to the state of its key: an answer of not_found seals the key, so that it is true."""
    if standing.word != "not_found" or not KINDS[drawn.behaviour].tells:
        return drawn
    return replace(drawn, effect=Effect.APPROVE_AFTER_ALL if standing.lying else Effect.SEAL)


def choose(forms: Sequence[T], luck: float) -> T:
    """Return one of several equally likely forms, chosen by a number from 0 to 1, exclusive."""
    return forms[int(luck * len(forms))]


def _effect(drawn: DrawnAct, standing: Standing) -> Effect:
    if standing.decision is not None or drawn.effect is Effect.NOTHING:
        return Effect.NOTHING
    if standing.sealed:
        return Effect.DECLINE
    if standing.due and drawn.effect in {Effect.APPROVE_LATER, Effect.APPROVE_AFTER_ALL}:
        return Effect.NOTHING
    if drawn.behaviour is Behaviour.DUPLICATE and (standing.due or standing.lying):
        return Effect.NOTHING  # the refusal is for the repetition; the first call goes on
    return drawn.effect


def _true_behaviour(drawn: Behaviour, decision: Decision | None, *, is_new: bool) -> Behaviour:
    """Return the behaviour that is true for the decision of this call or an earlier one."""
    match drawn, decision:
        case ((Behaviour.DECLINE | Behaviour.REFUSE), Decision.APPROVED):
            return Behaviour.APPROVE
        case Behaviour.APPROVE, Decision.DECLINED:
            return Behaviour.DECLINE
        case ((Behaviour.REFUSE_AGAIN | Behaviour.DUPLICATE), Decision.DECLINED):
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
    drawn = hashlib.sha256(f"{seed}:{request}:{number}:{without_salt(gateway_key)}".encode()).digest()
    parts = (drawn[_LUCK_BYTES * n : _LUCK_BYTES * (n + 1)] for n in range(_LUCKS))
    return tuple((int.from_bytes(part) >> 8 * _LUCK_BYTES - _LUCK_BITS) / (1 << _LUCK_BITS) for part in parts)
