"""Commands for the state machine over the ledger: made by chance, likely ones and unlikely ones, and put to the model.

What is made is a command of the ledger. `expected` asks the model what has to be answered to it, which also lets the
model carry it out; `told` brings what the ledger has answered into the same form.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, TypeVar, get_args

import msgspec

from ledger.commands import (
    AnyCommand,
    Fail,
    FollowUp,
    InquireAfter,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    RetryAfter,
    Succeed,
)
from ledger.errors import LedgerError
from ledger.events import OutcomeName, Resolution
from tests.model import AMOUNT_MOST, DECIMALS, Model, Refused, stream_of
from tests.model_books import Payment

Request = RequestDeposit | RequestWithdrawal
Answer = tuple[Literal["answer", "refused"], Any]
ChosenT = TypeVar("ChosenT")


class Choose(Protocol):
    """Chooses one of several, as `random.Random.choice` does."""

    def __call__(self, options: Sequence[ChosenT], /) -> ChosenT:
        """Choose."""


KEYS: Final = [None, None, "a", "b", "c"]
OPENINGS: Final = ["1000", "100", "0.01", "0", "10000000000000"]
ODD_AMOUNTS: Final = ["0", "-1", "0.001", "0.00001", "1e13", "10000000000000.01", "12.50", "7"]
BEGUN: Final = 3
EARLY: Final = 3
FEE_RATES_PPM: Final = [20_000, 20_000, 0, 333_333, 1_000_000]

THEN: Final[dict[str, FollowUp]] = {
    "succeed": Succeed(),
    "fail": Fail(),
    "fail for a reason": Fail("declined"),
    "fail unasked": Fail(unasked=True),
    "retry": RetryAfter(0.5),
    "inquire": InquireAfter(5.0),
}
WHAT_FOLLOWS: Final[dict[str, list[str]]] = {
    "approved": ["succeed"],
    "declined": ["fail", "fail for a reason", "inquire"],
    "turned_away": ["retry", "fail", "inquire"],
    "unknown": ["retry", "inquire", "fail unasked"],
    "no_clear_answer": ["inquire"],
}
"""What the gateway's process would say follows from what it was told."""


# --- what the model says ---------------------------------------------------------------------------------------------


def expected(model: Model, command: AnyCommand) -> Answer:
    """Let the model carry out a command, and give what it answers."""
    try:
        return "answer", _ask(model, command)
    except Refused as refused:
        return "refused", refused.code


def told(answer: object) -> Answer:
    """What the ledger has answered, as the model would put it: without times."""
    if isinstance(answer, LedgerError):
        return "refused", answer.code
    facts = msgspec.to_builtins(answer)
    facts.pop("requested_at", None)
    return "answer", facts


def _ask(model: Model, command: AnyCommand) -> dict[str, Any]:
    match command:
        case OpenAccount(opening=opening, currency=currency):
            return model.open(opening, currency, caller=command.caller, key=command.idempotency_key)
        case (
            RequestDeposit(account_id=account_id, amount=amount)
            | RequestWithdrawal(account_id=account_id, amount=amount)
        ):
            kind = "deposit" if isinstance(command, RequestDeposit) else "withdraw"
            rate_ppm, key = command.fee_rate_ppm, command.idempotency_key
            return model.request(kind, account_id, amount, rate_ppm=rate_ppm, key=key)
        case RecordGatewayOutcome():
            return model.outcome(
                **_reported(command), attempt=command.attempt, told=command.outcome, **_follow_up(command.then)
            )
        case RecordInquiry():
            return model.inquiry(**_reported(command), answer=command.answer, **_follow_up(command.then))
        case RequeuePayment():
            return model.requeue(command.payment_id, same_gateway_key=command.same_gateway_key)
        case ResolvePayment():
            return model.resolve(command.payment_id, command.outcome)


def _reported(command: RecordGatewayOutcome | RecordInquiry) -> dict[str, Any]:
    names = ("payment_id", "seen_version", "series", "error")
    return {name: getattr(command, name) for name in names}


def _follow_up(then: FollowUp) -> dict[str, Any]:
    match then:
        case Succeed():
            return {"then": "succeed"}
        case Fail(reason=reason, unasked=unasked):
            return {"then": "fail_unasked" if unasked else "fail", "reason": reason}
        case RetryAfter():
            return {"then": "retry"}
        case InquireAfter():
            return {"then": "inquire"}


# --- choosing --------------------------------------------------------------------------------------------------------


def opening(choose: Choose, _: Model) -> OpenAccount:
    """A user; now and then one that cannot be."""
    return OpenAccount(
        command_id="open",
        opening=Decimal(choose([*OPENINGS, *OPENINGS, "-0.01", "0.00001"])),
        currency=choose(["USD", "USD", *DECIMALS, "usd"]),
        idempotency_key=choose(KEYS),
    )


def request(choose: Choose, model: Model) -> Request:
    """A payment; keys come up often enough to be sent twice, for the same and for something else."""
    user_id = _one_of(choose, [*model.users], [77])
    currency = model.users[user_id].currency if user_id in model.users else "USD"
    available = model.available(user_id) if user_id in model.users else 0
    usual = choose([choose(range(1, 20_001)), choose([available, available + 1, available // 2])])
    odd = choose(ODD_AMOUNTS)
    amount = choose([Decimal(usual).scaleb(-DECIMALS[currency])] * 3 + [Decimal(odd)])
    kinds: list[type[Request]] = [RequestDeposit, RequestWithdrawal, RequestWithdrawal]
    return choose(kinds)(
        command_id="request",
        account_id=user_id,
        amount=amount,
        fee_rate_ppm=choose(FEE_RATES_PPM),
        idempotency_key=choose(KEYS),
    )


def small_request(choose: Choose, _: Model) -> Request:
    """A payment of the first user that is taken as long as there is a little money or room."""
    kinds: list[type[Request]] = [RequestDeposit, RequestWithdrawal]
    return choose(kinds)(
        command_id="request", account_id=1, amount=Decimal(choose(["12.25", "30"])), fee_rate_ppm=20_000
    )


def to_the_brim(choose: Choose, model: Model) -> list[AnyCommand]:
    """Deposits that together are all that an account has room for, and one of the smallest coin beyond it."""
    user = model.users[choose(to_be_filled(model))]
    whole, rest = divmod(model.room(user.user_id), AMOUNT_MOST)
    return [
        RequestDeposit(
            command_id="brim",
            account_id=user.user_id,
            amount=Decimal(minor).scaleb(-DECIMALS[user.currency]),
            fee_rate_ppm=0,
        )
        for minor in [AMOUNT_MOST] * whole + [rest] * bool(rest) + [1]
    ]


def to_be_filled(model: Model) -> list[int]:
    """The accounts that few deposits would fill; early on all, since stories that go far find more than broad ones."""
    early = len(model.payments) < EARLY
    return [user_id for user_id in model.users if early or model.room(user_id) <= 2 * AMOUNT_MOST]


def request_with_key(choose: Choose, model: Model, key: str) -> Request:
    """A payment that is taken as long as there is a little money or room, under a key."""
    return msgspec.structs.replace(small_request(choose, model), idempotency_key=key)


def anything(choose: Choose, model: Model) -> AnyCommand:
    """Something new, or something that happens to what there is."""
    return choose([request, move, move, move])(choose, model) if model.payments else request(choose, model)


def move(choose: Choose, model: Model) -> AnyCommand:
    """Something that happens to one of the payments, mostly to one that something has happened to before."""
    return move_of(choose, model, model.payments[_one_of(choose, begun(model), [*model.payments])])


def move_of(choose: Choose, model: Model, payment: Payment) -> AnyCommand:
    """Something that happens to a payment: mostly what leads it on, and sometimes what nobody would expect."""
    moves: list[Callable[[Choose, Model, Payment], AnyCommand]]
    match payment.letter:
        case "in_doubt":
            moves = [resolving, resolving, resolving, next_inquiry, late_success, next_outcome, requeuing]
        case "reconcile":
            moves = [resolving, resolving, late_success, late_success, requeuing]
        case "failed":
            moves = [requeuing, requeuing, requeuing, requeuing, late_success, resolving]
        case None if payment.under_way and payment.contradictions:
            moves = [next_outcome, next_inquiry, next_inquiry, next_inquiry, next_inquiry]
        case None if payment.under_way and payment.series > 1:
            moves = [next_outcome, next_outcome, next_inquiry, next_inquiry, late_success, late_success]
        case None if payment.under_way:
            moves = [next_outcome, next_outcome, next_outcome, next_inquiry]
        case _:
            moves = [late_success, late_success, late_success, requeuing, resolving]
    moves += [odd_outcome, odd_inquiry]
    return choose(moves)(choose, model, payment)


def next_outcome(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """What the gateway told about the next attempt, with what follows from it."""
    told: OutcomeName = choose(["declined", "declined", "turned_away", "unknown", "unknown", "approved"])
    return _outcome(choose, model, payment, told, choose(WHAT_FOLLOWS[told]))


def late_success(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """Success of an attempt that may have been written off, in a series that may have been given up."""
    series = choose(range(1, payment.series + 1))
    attempt = choose(range(1, max(1, payment.attempts) + 1))
    return _outcome(choose, model, payment, "approved", "succeed", series=series, attempt=attempt)


def odd_outcome(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """What the gateway told about whatever attempt, and anything that might follow."""
    told: OutcomeName = choose(["approved", "approved", "approved", *get_args(OutcomeName)])
    return _outcome(
        choose,
        model,
        payment,
        told,
        choose([*WHAT_FOLLOWS[told], *THEN]),
        series=_off_by(choose, payment.series, [0, -1, -1, 1]),
        attempt=_off_by(choose, payment.attempts, [1, 0, -1, 2]),
        seen_version=model.version(stream_of(payment)) + choose([0, 0, 0, 0, 0, -1, 1]),
    )


def _outcome(
    choose: Choose, model: Model, payment: Payment, told: OutcomeName, then: str, **odd: int
) -> RecordGatewayOutcome:
    usual = {**_report_on(model, payment, odd), "attempt": payment.attempts + 1}
    words: dict[str, list[str | None]] = {
        "approved": [None],
        "declined": ["gateway_error_402"],
        "turned_away": ["gateway_error_429"],
        "unknown": ["timeout", "gateway_error_502", "lease_expired"],
    }
    error = choose(words[told])
    return RecordGatewayOutcome(**{**usual, "outcome": told, "then": THEN[then], "error": error, **odd})


def next_inquiry(choose: Choose, model: Model, payment: Payment) -> RecordInquiry:
    """What the gateway says became of a payment, with what follows from it."""
    answer = choose(["no_clear_answer", "no_clear_answer", "no_clear_answer", "declined", "approved"])
    return _inquiry(model, payment, answer, choose(WHAT_FOLLOWS[answer][:2]))


def odd_inquiry(choose: Choose, model: Model, payment: Payment) -> RecordInquiry:
    """What the gateway says became of whatever series, and anything that might follow."""
    answer = choose(["approved", "approved", "declined", "no_clear_answer"])
    return _inquiry(
        model,
        payment,
        answer,
        choose([*WHAT_FOLLOWS[answer], *THEN]),
        series=_off_by(choose, payment.series, [0, -1, -1, 1]),
        seen_version=model.version(stream_of(payment)) + choose([0, 0, 0, 0, -1]),
    )


def _inquiry(model: Model, payment: Payment, answer: str, then: str, **odd: int) -> RecordInquiry:
    usual = {**_report_on(model, payment, odd), "inquiry": 1, "answer": answer, "then": THEN[then]}
    error = "gateway_error_500" if answer == "no_clear_answer" else None
    return RecordInquiry(**{**usual, "error": error, **odd})


def requeuing(choose: Choose, _: Model, payment: Payment) -> RequeuePayment:
    """An operator's wish to have a payment sent again."""
    same_gateway_key = choose([False, False, True])
    return RequeuePayment(
        command_id="requeue",
        payment_id=payment.payment_id,
        why="the gateway is well again",
        same_gateway_key=same_gateway_key,
    )


def resolving(choose: Choose, _: Model, payment: Payment) -> ResolvePayment:
    """An operator's word on a payment."""
    outcome: Resolution = choose(["success", "failed"])
    return ResolvePayment(command_id="resolve", payment_id=payment.payment_id, outcome=outcome, why="the bank says so")


def ending(model: Model, payment: Payment) -> AnyCommand:
    """What ends a payment under way, and leaves nothing in doubt."""
    if payment.next_call == "inquire":
        return _inquiry(model, payment, "declined", "fail for a reason")
    usual = {**_report_on(model, payment, {}), "attempt": payment.attempts + 1}
    return RecordGatewayOutcome(**usual, outcome="approved", then=Succeed())


def again(choose: Choose, commands: Sequence[AnyCommand]) -> AnyCommand:
    """A command that was sent before: as it was, or with something changed in it; mostly one that has a key."""
    keyed = [place for place, command in enumerate(commands) if getattr(command, "idempotency_key", None) is not None]
    command = commands[_one_of(choose, keyed, [*range(len(commands))])]
    if not isinstance(command, RequestDeposit | RequestWithdrawal):
        return command
    altered: list[Callable[[Request], Request]] = [
        lambda request: request,
        lambda request: msgspec.structs.replace(request, fee_rate_ppm=50_000),
        lambda request: msgspec.structs.replace(request, amount=request.amount.quantize(Decimal("1e-6"))),
        lambda request: msgspec.structs.replace(request, amount=request.amount + 1),
        _of_the_other_kind,
    ]
    return choose(altered)(command)


def _of_the_other_kind(request: Request) -> Request:
    other = RequestWithdrawal if isinstance(request, RequestDeposit) else RequestDeposit
    return other(**msgspec.structs.asdict(request))


def begun(model: Model) -> list[int]:
    """The last few payments that are not new any more, so that what has begun is led on, and the last one that is."""
    new = [payment.payment_id for payment in model.payments.values() if payment.state == "new"]
    return [payment_id for payment_id in model.payments if payment_id not in new][-BEGUN:] + new[-1:]


def under_way(model: Model) -> list[Payment]:
    """The payments that have no end."""
    return [payment for payment in model.payments.values() if payment.under_way]


def _one_of(choose: Choose, likely: list[int], others: list[int]) -> int:
    usual = likely and choose(range(8)) > 0
    return choose(likely if usual else others)


def _off_by(choose: Choose, number: int, by: list[int]) -> int:
    return max(1, number + choose(by))


def _report_on(model: Model, payment: Payment, odd: Mapping[str, int]) -> dict[str, Any]:
    series = odd.get("series", payment.series)
    known_key = series <= payment.series
    return {
        "command_id": "report",
        "payment_id": payment.payment_id,
        "account_id": payment.user_id,
        "seen_version": model.version(stream_of(payment)),
        "series": series,
        "gateway_key": payment.gateway_keys[series - 1] if known_key else f"payment-{payment.payment_id}-{series}",
    }
