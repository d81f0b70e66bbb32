"""Finds every step that a payment can take, by telling the ledger's own rules every report and word there is.

`explore` begins with a request and goes on from each state that it reaches: every outcome of a call, every answer to an
inquiry, each of them on time or late, and every decision of an operator, decided by `ledger.domain.decide` and applied
by `ledger.domain.evolve`. Two payments count as the same state when they differ only in what no rule looks at, so the
exploration ends. `SERIES_MAX` and `CONTRADICTIONS_MAX` bound the two counts that could otherwise grow for ever.
"""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import product
from typing import Any, Final, NamedTuple, cast, get_args

from ledger.domain.account import Account
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
from ledger.domain.decide import decide
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.events import (
    AdjustedAgainst,
    GatewayAttempted,
    InquiryName,
    OutcomeName,
    PaymentEnded,
    PaymentEvent,
    PaymentInquired,
    Recorded,
    Resolution,
)
from ledger.domain.evolve import evolve
from ledger.domain.identifiers import gateway_key
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import LetterState, Payment, PaymentState
from ledger.errors import AccountNotFound, PaymentNotFound, Refusal

AT: Final = datetime(2026, 11, 29, tzinfo=UTC)
FOLLOW_UPS: Final[tuple[FollowUp, ...]] = (
    Succeed(),
    Fail("declined"),
    Fail("timeout", unasked=True),
    Fail(inquire_after_seconds=3600.0),
    RetryAfter(1.0),
    InquireAfter(5.0),
)
SERIES_MAX: Final = 2
ATTEMPTS_MAX: Final = 1
CONTRADICTIONS_MAX: Final = 2
LATE_INQUIRIES_MAX: Final = 1


class Step(NamedTuple):
    """One event that happened to a payment: from which state and letter, what, and to which."""

    kind: PaymentKind
    before: PaymentState | None
    letter_before: LetterState | None
    event: str
    after: PaymentState
    letter_after: LetterState | None


class _View:
    """The ledger as one decision sees it: an account, and a payment when there is one."""

    at = now = AT
    key_salt = "0" * 16
    next_account_id = 1
    next_payment_sequence = 0

    def __init__(self, account: Account | None = None, payment: Payment | None = None) -> None:
        self._account = account
        self._payment = payment

    def account(self, account_id: int) -> Account:
        if self._account is None:
            raise AccountNotFound(account_id=account_id)
        return self._account

    def payment(self, payment_id: int) -> Payment:
        if self._payment is None:
            raise PaymentNotFound(payment_id=payment_id)
        return self._payment

    def pending_minor(self, account_id: int) -> int:
        del account_id
        return 0

    def waiting(self, _: int) -> int:
        """None of the commands has a limit."""
        return 0

    def key_taken(self, scope: str, key: str) -> IdempotencyRecord | None:
        del scope, key
        return None


class _Node(NamedTuple):
    account: Account
    payment: Payment


@cache
def explore() -> frozenset[Step]:
    """Give every step that a payment of either kind can take."""
    steps: set[Step] = set()
    for kind, opening in product(get_args(PaymentKind), ("1000", "0")):
        seen: set[tuple[object, ...]] = set()
        waiting = deque([_requested(kind, opening, steps)])
        while waiting:
            node = waiting.popleft()
            for command in _commands(node.payment):
                after = _decided(node, command, steps)
                if after is not None and _is_bounded(after.payment) and _rules_see(after) not in seen:
                    seen.add(_rules_see(after))
                    waiting.append(after)
    return frozenset(steps)


def _requested(kind: PaymentKind, opening: str, steps: set[Step]) -> _Node:
    opened = decide(OpenAccount(command_id="", opening=Decimal(opening), currency="USD"), _View())
    account = cast("Account", evolve(None, _recorded(opened.planned[0].stream, 1, opened.planned[0].event)))
    request = RequestDeposit if kind == "deposit" else RequestWithdrawal
    command = request(command_id="", account_id=1, amount=Decimal(10), fee_rate_ppm=20_000)
    node = _applied(account, None, command, steps)
    assert node is not None
    return node


def _decided(node: _Node, command: AnyCommand, steps: set[Step]) -> _Node | None:
    try:
        return _applied(node.account, node.payment, command, steps)
    except Refusal:
        return None


def _applied(account: Account, payment: Payment | None, command: AnyCommand, steps: set[Step]) -> _Node | None:
    """Decide a command and apply what it brings about; None when that is nothing."""
    decision = decide(command, _View(account, payment))
    for planned in decision.planned:
        if planned.stream == account.id:
            account = cast("Account", evolve(account, _recorded(planned.stream, account.version + 1, planned.event)))
            continue
        version = 1 if payment is None else payment.version + 1
        after = cast("Payment", evolve(payment, _recorded(planned.stream, version, planned.event)))
        name = _name(cast("PaymentEvent", planned.event))
        state, letter = (None, None) if payment is None else (payment.state, payment.letter)
        steps.add(Step(after.kind, state, letter, name, after.state, after.letter))
        payment = after
    return _Node(account, payment) if decision.planned and payment is not None else None


def _recorded(stream: str, version: int, event: object) -> Recorded[PaymentEvent]:
    data = cast("PaymentEvent", event)
    return Recorded(originator_id=stream, originator_version=version, at=AT, command_id="", cause="", data=data)


def _name(event: PaymentEvent) -> str:
    """Name an event by its topic and the fields that make it a different step."""
    match event:
        case PaymentEnded():
            return f"{event.TOPIC} by {event.ended_by}"
        case GatewayAttempted(late=True) | PaymentInquired(late=True):
            return f"{event.TOPIC}, late"
        case _:
            return event.TOPIC


def _rules_see(node: _Node) -> tuple[object, ...]:
    """Give what of a payment and its account the rules look at."""
    payment = node.payment
    covered = node.account.available_minor >= payment.account_minor
    attempt = min(payment.attempt, ATTEMPTS_MAX)
    facts = (payment.state, payment.ended_by, payment.series, attempt, payment.unknown, payment.held, payment.closed)
    keys = (payment.declined, payment.next_gateway_key, payment.late_inquiries)
    return (*facts, *keys, frozenset(payment.contradicted), payment.unreconciled, payment.gateway_key, covered)


def _is_bounded(payment: Payment) -> bool:
    contradictions = len(payment.contradicted)
    counts = payment.series <= SERIES_MAX and payment.attempt <= ATTEMPTS_MAX and contradictions <= CONTRADICTIONS_MAX
    return counts and (payment.late_inquiries or 0) <= LATE_INQUIRIES_MAX


def _commands(payment: Payment) -> Iterator[AnyCommand]:
    """Give every report and every decision that somebody might send about a payment."""
    for series in range(1, payment.series + 1):
        keys = {gateway_key(payment.payment_id, series, _View.key_salt), payment.gateway_key}
        for key, then in product(sorted(keys), FOLLOW_UPS):
            report: dict[str, Any] = {
                "command_id": "",
                "payment_id": payment.payment_id,
                "account_id": payment.account_id,
                "seen_version": payment.version,
                "series": series,
                "gateway_key": key,
                "then": then,
            }
            begun = payment.attempt if series == payment.series else 1
            # Of an attempt of an earlier series, only that it is late matters, and not which one it is.
            attempts = sorted({max(begun, 1), begun + 1}) if series == payment.series else (1,)
            for outcome, attempt in product(get_args(OutcomeName), attempts):
                yield RecordGatewayOutcome(**report, outcome=outcome, attempt=attempt)
            for answer in get_args(InquiryName) if begun or payment.asks_first else ():
                yield RecordInquiry(**report, inquiry=1, answer=answer)
                if payment.late_inquiries is not None:
                    yield RecordInquiry(**report, inquiry=payment.late_inquiries + 1, answer=answer, late=True)
    for ask_first in (False, True):
        yield RequeuePayment(command_id="", payment_id=payment.payment_id, why="a test", ask_first=ask_first)
    for resolution in get_args(Resolution):
        for named in (None, *payment.unreconciled):
            yield ResolvePayment(
                command_id="", payment_id=payment.payment_id, outcome=resolution, why="a test", gateway_key=named
            )
    for against, named in product(get_args(AdjustedAgainst), (None, *payment.unreconciled)):
        yield AdjustPayment(
            command_id="", payment_id=payment.payment_id, why="a test", against=against, gateway_key=named
        )
