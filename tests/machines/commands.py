"""Random commands for the state machine over the ledger, likely and unlikely ones, and the model's answers to them.

`expected` runs a command on the model and returns its answer. `told` converts the ledger's answer to the same form.
"""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Literal, get_args

import msgspec

from ledger.domain.commands import (
    AdjustPayment,
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
from ledger.domain.events import OutcomeName
from ledger.errors import LedgerError
from tests.machines.operator_commands import Choose, adjusting, requeuing, resolving
from tests.model.ledger import AMOUNT_MOST, DECIMALS, Model, Refused, stream_of
from tests.model.state import Payment

Request = RequestDeposit | RequestWithdrawal
Answer = tuple[Literal["answer", "refused"], Any]

KEYS: Final = [None, None, "a", "b", "c"]
OPENINGS: Final = ["1000", "100", "0.01", "0", "10000000000000"]
ODD_AMOUNTS: Final = ["0", "-1", "0.001", "0.00001", "1e13", "10000000000000.01", "12.50", "7"]
BEGUN: Final = 3
EARLY: Final = 3
WAITING_LIMITS: Final = [0, 0, 1, 3]
FEE_RATES_PPM: Final = [20_000, 20_000, 0, 333_333, 1_000_000]

THEN: Final[dict[str, FollowUp]] = {
    "succeed": Succeed(),
    "fail": Fail(),
    "fail for a reason": Fail("declined"),
    "fail unasked": Fail(unasked=True),
    "retry": RetryAfter(0.5),
    "inquire": InquireAfter(5.0),
    "fail, and ask late": Fail(inquire_after_seconds=3600.0),
}
WHAT_FOLLOWS: Final[dict[str, list[str]]] = {
    "approved": ["succeed"],
    "declined": ["fail", "fail for a reason", "inquire"],
    "turned_away": ["retry", "fail", "inquire"],
    "unknown": ["retry", "inquire", "fail unasked"],
    "not_found": ["fail, and ask late", "fail, and ask late", "fail"],
    "no_clear_answer": ["inquire"],
}
"""The next steps that the worker would report for each outcome or answer."""


# --- answers of the model --------------------------------------------------------------------------------------------


def expected(model: Model, command: AnyCommand) -> Answer:
    """Run a command on the model, and return its answer."""
    try:
        return "answer", _ask(model, command)
    except Refused as refused:
        return "refused", refused.code


def told(answer: object) -> Answer:
    """Convert the ledger's answer to the model's form, without times."""
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
            return model.request(kind, account_id, amount, rate_ppm=rate_ppm, key=key, waiting_most=command.waiting_max)
        case RecordGatewayOutcome():
            return model.outcome(
                **_reported(command), attempt=command.attempt, told=command.outcome, **_follow_up(command.then)
            )
        case RecordInquiry():
            return model.inquiry(
                **_reported(command),
                answer=command.answer,
                **_follow_up(command.then),
                late=command.inquiry if command.late else 0,
            )
        case RequeuePayment():
            return model.requeue(command.payment_id, ask_first=command.ask_first, key=command.idempotency_key)
        case ResolvePayment(outcome=outcome, gateway_key=named):
            asked: dict[str, Any] = {"told": command.gateway_answer, "force": command.force}
            asked["asks_late"] = command.inquire_after_seconds is not None
            key = command.idempotency_key
            return model.resolve(command.payment_id, outcome, gateway_key=named, key=key, **asked)
        case AdjustPayment(gateway_key=named):
            return model.adjust(
                command.payment_id,
                command.against,
                direction=command.direction,
                amount=command.amount,
                gateway_key=named,
                key=command.idempotency_key,
            )


def _reported(command: RecordGatewayOutcome | RecordInquiry) -> dict[str, Any]:
    names = ("payment_id", "seen_version", "series", "error")
    return {name: getattr(command, name) for name in names}


def _follow_up(then: FollowUp) -> dict[str, Any]:
    match then:
        case Succeed():
            return {"then": "succeed"}
        case Fail(reason=reason, unasked=unasked):
            asking_late = "fail" if then.inquire_after_seconds is None else "fail_asking_late"
            return {"then": "fail_unasked" if unasked else asking_late, "reason": reason}
        case RetryAfter():
            return {"then": "retry"}
        case InquireAfter():
            return {"then": "inquire"}


# --- choosing --------------------------------------------------------------------------------------------------------


def opening(choose: Choose, _: Model) -> OpenAccount:
    """Open a user's account; now and then with invalid fields."""
    return OpenAccount(
        command_id="open",
        opening=Decimal(choose([*OPENINGS, *OPENINGS, "-0.01", "0.00001"])),
        currency=choose(["USD", "USD", *DECIMALS, "usd"]),
        idempotency_key=choose(KEYS),
    )


def request(choose: Choose, model: Model) -> Request:
    """Request a payment. Keys are reused often, for the same request and for others."""
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
        waiting_max=choose(WAITING_LIMITS),
    )


def small_request(choose: Choose, _: Model) -> Request:
    """Request a payment of the first user that is granted if there is a little money or room."""
    kinds: list[type[Request]] = [RequestDeposit, RequestWithdrawal]
    return choose(kinds)(
        command_id="request", account_id=1, amount=Decimal(choose(["12.25", "30"])), fee_rate_ppm=20_000
    )


def filling_deposits(choose: Choose, model: Model) -> list[AnyCommand]:
    """Deposit all that an account has room for, and then one minor unit more."""
    user = model.users[choose(fillable(model))]
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


def fillable(model: Model) -> list[int]:
    """The accounts that a few deposits would fill; at first all, because long examples find more than broad ones."""
    early = len(model.payments) < EARLY
    return [user_id for user_id in model.users if early or model.room(user_id) <= 2 * AMOUNT_MOST]


def request_with_key(choose: Choose, model: Model, key: str) -> Request:
    """Request a small payment under a key."""
    return msgspec.structs.replace(small_request(choose, model), idempotency_key=key)


def anything(choose: Choose, model: Model) -> AnyCommand:
    """A new payment, or a command on an existing one."""
    return choose([request, move, move, move])(choose, model) if model.payments else request(choose, model)


def move(choose: Choose, model: Model) -> AnyCommand:
    """A command on one of the payments, mostly on one that has started."""
    return move_of(choose, model, model.payments[_one_of(choose, begun(model), [*model.payments])])


def move_of(choose: Choose, model: Model, payment: Payment) -> AnyCommand:
    """A command on a payment: mostly one that advances it, and sometimes one that nobody would expect."""
    moves: list[Callable[[Choose, Model, Payment], AnyCommand]]
    match payment.letter:
        case "in_doubt":
            moves = [resolving, resolving, resolving, next_inquiry, next_inquiry, late_success, next_outcome, requeuing]
        case "contradicted":
            moves = [resolving, resolving, adjusting, adjusting, late_success, late_success, requeuing]
        case "failed" if payment.next_call == "inquire_late":
            moves = [requeuing, requeuing, late_inquiry, late_inquiry, late_inquiry, late_success, resolving]
        case "failed":
            moves = [requeuing, requeuing, requeuing, requeuing, late_success, resolving]
        case _ if payment.asks_first:
            moves = [next_inquiry, next_inquiry, next_inquiry, next_outcome, late_success]
        case _ if payment.next_call == "inquire_late":
            moves = [late_inquiry, late_inquiry, late_success]
        case None if payment.under_way and payment.contradictions:
            moves = [next_outcome, next_inquiry, next_inquiry, next_inquiry, next_inquiry]
        case None if payment.under_way and payment.series > 1:
            moves = [next_outcome, next_outcome, next_inquiry, next_inquiry, late_success, late_success]
        case None if payment.under_way:
            moves = [next_outcome, next_outcome, next_outcome, next_inquiry]
        case _:
            moves = [late_success, late_success, late_success, requeuing, resolving, adjusting]
    moves += [odd_outcome, odd_inquiry]
    return choose(moves)(choose, model, payment)


def next_outcome(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """The outcome of the next attempt, with a next step that follows from it."""
    told: OutcomeName = choose(["declined", "declined", "turned_away", "unknown", "unknown", "approved"])
    return _outcome(choose, model, payment, told, choose(WHAT_FOLLOWS[told]))


def late_success(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """Success of an attempt that may have been given up, in a series that may have been given up."""
    series = choose(range(1, payment.series + 1))
    attempt = choose(range(1, max(1, payment.attempts) + 1))
    return _outcome(choose, model, payment, "approved", "succeed", series=series, attempt=attempt)


def odd_outcome(choose: Choose, model: Model, payment: Payment) -> RecordGatewayOutcome:
    """An outcome of any attempt, with any next step."""
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
    usual = {**report_on(model, payment, odd), "attempt": payment.attempts + 1}
    words: dict[str, list[str | None]] = {
        "approved": [None],
        "declined": ["gateway_error_402"],
        "turned_away": ["gateway_error_429"],
        "unknown": ["timeout", "gateway_error_502", "lease_expired"],
    }
    error = choose(words[told])
    return RecordGatewayOutcome(**{**usual, "outcome": told, "then": THEN[then], "error": error, **odd})


def next_inquiry(choose: Choose, model: Model, payment: Payment) -> RecordInquiry:
    """The answer to the next inquiry, with a next step that follows from it."""
    usual = ["no_clear_answer", "no_clear_answer", "not_found", "not_found", "declined", "approved"]
    answer = choose(usual)
    then = choose(WHAT_FOLLOWS[answer][:2])
    if payment.asks_first and answer in {"declined", "not_found"}:
        then = "retry"
    return inquiry(model, payment, answer, then)


def late_inquiry(choose: Choose, model: Model, payment: Payment) -> RecordInquiry:
    """The answer to the late inquiry that is due, or to one that was answered before."""
    answer = choose(["not_found", "not_found", "no_clear_answer", "declined", "approved"])
    follows = {"not_found": ["inquire", "inquire", "fail"], "declined": ["fail"], "approved": ["succeed"]}
    number = max(1, payment.late_answers + choose([1, 1, 1, 0, 2]))
    report = inquiry(model, payment, answer, choose(follows.get(answer, ["inquire"])))
    return msgspec.structs.replace(report, late=True, inquiry=number)


def odd_inquiry(choose: Choose, model: Model, payment: Payment) -> RecordInquiry:
    """An answer about any series, with any next step."""
    answer = choose(["approved", "approved", "declined", "not_found", "no_clear_answer"])
    return inquiry(
        model,
        payment,
        answer,
        choose([*WHAT_FOLLOWS[answer], *THEN]),
        series=_off_by(choose, payment.series, [0, -1, -1, 1]),
        seen_version=model.version(stream_of(payment)) + choose([0, 0, 0, 0, -1]),
    )


def inquiry(model: Model, payment: Payment, answer: str, then: str, **odd: int) -> RecordInquiry:
    """An answer to an inquiry, with a next step."""
    usual = {**report_on(model, payment, odd), "inquiry": 1, "answer": answer, "then": THEN[then]}
    error = "gateway_error_500" if answer == "no_clear_answer" else None
    return RecordInquiry(**{**usual, "error": error, **odd})


def success_of(model: Model, payment: Payment, *, series: int) -> RecordGatewayOutcome:
    """The success of the first call of a series."""
    return RecordGatewayOutcome(
        **report_on(model, payment, {"series": series}), attempt=1, outcome="approved", then=Succeed()
    )


def ending(model: Model, payment: Payment) -> AnyCommand:
    """A report that ends an open payment and leaves nothing in doubt."""
    if payment.asks_first:
        return inquiry(model, payment, "approved", "succeed")
    if payment.next_call == "inquire":
        return inquiry(model, payment, "declined", "fail for a reason")
    usual = {**report_on(model, payment, {}), "attempt": payment.attempts + 1}
    return RecordGatewayOutcome(**usual, outcome="approved", then=Succeed())


def again(choose: Choose, commands: Sequence[AnyCommand]) -> AnyCommand:
    """An earlier command, unchanged or with one change; mostly one that has a key."""
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
    """The last few payments that have started, and the last new one, so that most commands advance started payments."""
    new = [payment.payment_id for payment in model.payments.values() if payment.state == "new"]
    return [payment_id for payment_id in model.payments if payment_id not in new][-BEGUN:] + new[-1:]


def under_way(model: Model) -> list[Payment]:
    """The payments that have not ended."""
    return [payment for payment in model.payments.values() if payment.under_way]


def _one_of(choose: Choose, likely: list[int], others: list[int]) -> int:
    usual = likely and choose(range(8)) > 0
    return choose(likely if usual else others)


def _off_by(choose: Choose, number: int, by: list[int]) -> int:
    return max(1, number + choose(by))


def report_on(model: Model, payment: Payment, odd: Mapping[str, int]) -> dict[str, Any]:
    """The fields that all reports about a payment share."""
    series = odd.get("series", payment.series)
    return {
        "command_id": "report",
        "payment_id": payment.payment_id,
        "account_id": payment.user_id,
        "seen_version": model.version(stream_of(payment)),
        "series": series,
        "gateway_key": payment.key_of(series) if series <= payment.series else f"payment-{payment.payment_id}-{series}",
    }
