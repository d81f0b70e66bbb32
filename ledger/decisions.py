"""What each command does to the ledger: the place where money moves.

A decision is a pure function from a command and what the ledger looks like (`View`) to a `Decision`: the events, the
change to the gateway queue, the idempotency key taken, and the answer. Nothing is applied here; the writer applies a
decision to its books, so that the next command of the same batch sees it, and stores it. A refusal is raised.

Rules about one account stand in `ledger.account`, rules about one payment in `ledger.payment`; here they meet: an end
of a payment settles or frees the account's money in the same decision.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, Protocol, assert_never

from msgspec import Struct

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.commands import (
    AccountOpening,
    AnyCommand,
    GatewayReport,
    InquireAfter,
    OpenAccount,
    PaymentAcceptance,
    PaymentStanding,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestPayment,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    RetryAfter,
)
from ledger.errors import AmountInvalid, IdempotencyKeyReused, InsufficientFunds
from ledger.events import (
    AccountEvent,
    AccountOpened,
    AnyEvent,
    IdempotencyKey,
    PaymentEvent,
    PaymentFailed,
    PaymentKind,
    PaymentRequested,
    PaymentSucceeded,
)
from ledger.identifiers import (
    ID_MAX,
    account_stream,
    gateway_key,
    opening_scope,
    payment_id,
    payment_scope,
    payment_stream,
)
from ledger.money import fee_minor, minor_units
from ledger.payment import Payment

FINGERPRINT_VERSION: Final = 1

SubjectKind = Literal["account", "payment"]
QueueAction = Literal["pay", "inquire"]


class Happening(Struct, frozen=True):
    """An event that a decision calls for, the stream it belongs to, and what brought it about.

    `cause` is the command's name, or for what follows from an event of the same decision that event's stream.
    """

    stream: str
    event: AnyEvent
    follows: str | None = None


class QueueEntry(Struct, frozen=True, kw_only=True):
    """What the gateway is to be asked about a payment, and from when on.

    `attempt` counts the attempts of the series that are already recorded, `inquiries` the inquiries made. `due_at` is
    on the database's clock. `unknown` says that an earlier attempt under the gateway key may have moved the money.
    """

    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    series: int
    gateway_key: str
    payment_version: int
    due_at: datetime
    attempt: int = 0
    action: QueueAction = "pay"
    inquiries: int = 0
    unknown: bool = False
    trace_context: str | None = None

    @property
    def is_first(self) -> bool:
        """Whether nothing has happened to the payment but its request."""
        return self.payment_version == 1


class KeyTaken(Struct, frozen=True, kw_only=True):
    """An idempotency key and what was made under it."""

    subject_kind: SubjectKind
    subject_id: int
    idempotency: IdempotencyKey


class Decision(Struct, frozen=True, kw_only=True):
    """All that a command does. `enqueue` replaces the payment's queue entry, `dequeue` names one that is done with."""

    happenings: Sequence[Happening] = ()
    enqueue: QueueEntry | None = None
    dequeue: int | None = None
    key: KeyTaken | None = None
    answer: Any


class View(Protocol):
    """What the ledger looks like to a decision: everything before it, also of the same batch."""

    at: datetime
    next_account_id: int
    next_payment_sequence: int

    def account(self, account_id: int) -> Account:
        """Give an account. Raises AccountNotFound."""

    def payment(self, payment_id: int) -> Payment:
        """Give a payment. Raises PaymentNotFound."""

    def pending_minor(self, account_id: int) -> int:
        """Sum up what the deposits on their way to an account would credit."""

    def key_taken(self, scope: str, key: str) -> KeyTaken | None:
        """Tell what was made under an idempotency key."""


def decide(command: AnyCommand, view: View) -> Decision:
    """Decide one command. Raises a Refusal when it cannot be granted."""
    match command:
        case RequestDeposit():
            return _request(command, view, "deposit")
        case RequestWithdrawal():
            return _request(command, view, "withdraw")
        case RecordGatewayOutcome():
            return _record_outcome(command, view)
        case RecordInquiry():
            return _record_inquiry(command, view)
        case OpenAccount():
            return _open_account(command, view)
        case RequeuePayment():
            return _requeue(command, view)
        case ResolvePayment():
            return _resolve(command, view)
        case never:
            assert_never(never)


# --- a client's requests ---------------------------------------------------------------------------------------------


def _open_account(command: OpenAccount, view: View) -> Decision:
    opening_minor = minor_units(command.opening, currency=command.currency)
    fingerprint = f"open/{opening_minor}/{command.currency}"
    scope = opening_scope(command.caller)
    taken = _taken(view, scope, command.idempotency_key, fingerprint)
    if taken is not None:
        account = view.account(taken.subject_id)
        return Decision(answer=_opening(account, replayed=True))
    account_id = view.next_account_id
    assert account_id <= ID_MAX
    idempotency = _idempotency(scope, command.idempotency_key, fingerprint)
    opened = AccountOpened(currency=command.currency, opening_minor=opening_minor, idempotency=idempotency)
    return Decision(
        happenings=[Happening(account_stream(account_id), opened)],
        key=_key("account", account_id, idempotency),
        answer=AccountOpening(account_id=account_id, currency=command.currency, opening_minor=opening_minor),
    )


def _request(command: RequestPayment, view: View, kind: PaymentKind) -> Decision:
    account = view.account(command.account_id)
    amount_minor = _payable(command.amount, currency=account.currency)
    fingerprint = f"{kind}/{account.account_id}/{amount_minor}"
    scope = payment_scope(account.account_id)
    taken = _taken(view, scope, command.idempotency_key, fingerprint)
    if taken is not None:
        return Decision(answer=_acceptance(view.payment(taken.subject_id), replayed=True))
    idempotency = _idempotency(scope, command.idempotency_key, fingerprint)
    requested = PaymentRequested(
        payment_id=payment_id(view.next_payment_sequence, account.account_id),
        account_id=account.account_id,
        kind=kind,
        amount_minor=amount_minor,
        fee_minor=fee_minor(amount_minor, rate_ppm=command.fee_rate_ppm),
        fee_rate_ppm=command.fee_rate_ppm,
        currency=account.currency,
        idempotency=idempotency,
    )
    assert requested.payment_id <= ID_MAX
    stream = payment_stream(requested.payment_id)
    happenings = [Happening(stream, requested), *_set_aside(account, requested, view)]
    refused = isinstance(happenings[-1].event, PaymentFailed)
    return Decision(
        happenings=happenings,
        enqueue=None if refused else _first_call(requested, view.at, command.trace_context),
        key=_key("payment", requested.payment_id, idempotency),
        answer=PaymentAcceptance(
            payment_id=requested.payment_id,
            account_id=requested.account_id,
            kind=kind,
            amount_minor=amount_minor,
            fee_minor=requested.fee_minor,
            currency=requested.currency,
            requested_at=view.at,
            refused=refused,
        ),
    )


def _payable(amount: Decimal, *, currency: str) -> int:
    amount_minor = minor_units(amount, currency=currency)
    if amount_minor == 0:
        raise AmountInvalid(why="it is zero")
    return amount_minor


def _set_aside(account: Account, requested: PaymentRequested, view: View) -> list[Happening]:
    """Hold a withdrawal's money, or fail it for want of money; make sure that there is room for a deposit."""
    stream = payment_stream(requested.payment_id)
    if requested.kind == "deposit":
        incoming_minor = requested.amount_minor - requested.fee_minor
        pending_minor = view.pending_minor(account.account_id)
        ledger.account.ensure_room(account, pending_minor=pending_minor, incoming_minor=incoming_minor)
        return []
    total_minor = requested.amount_minor + requested.fee_minor
    try:
        held = ledger.account.hold(account, payment_id=requested.payment_id, amount_minor=total_minor)
    except InsufficientFunds as refusal:
        failed = PaymentFailed(
            payment_id=requested.payment_id,
            account_id=requested.account_id,
            kind=requested.kind,
            amount_minor=requested.amount_minor,
            fee_minor=requested.fee_minor,
            currency=requested.currency,
            series=1,
            ended_by="request",
            reason=refusal.code,
        )
        return [Happening(stream, failed, follows=stream)]
    return [Happening(account.id, held, follows=stream)]


def _first_call(requested: PaymentRequested, at: datetime, trace_context: str | None) -> QueueEntry:
    return QueueEntry(
        payment_id=requested.payment_id,
        account_id=requested.account_id,
        kind=requested.kind,
        amount_minor=requested.amount_minor,
        fee_minor=requested.fee_minor,
        currency=requested.currency,
        series=1,
        gateway_key=gateway_key(requested.payment_id, 1),
        payment_version=1,
        due_at=at,
        trace_context=trace_context,
    )


# --- the gateway's reports -------------------------------------------------------------------------------------------


def _record_outcome(command: RecordGatewayOutcome, view: View) -> Decision:
    payment = view.payment(command.payment_id)
    events = ledger.payment.record_outcome(payment, command, at=view.at)
    late = ledger.payment.is_late(payment, command)
    return _report(payment, command, events, view, attempt=command.attempt, late=late)


def _record_inquiry(command: RecordInquiry, view: View) -> Decision:
    payment = view.payment(command.payment_id)
    events = ledger.payment.record_inquiry(payment, command)
    late = ledger.payment.is_late(payment, command)
    return _report(payment, command, events, view, attempt=payment.attempt, late=late)


def _report(
    payment: Payment, command: GatewayReport, events: list[PaymentEvent], view: View, *, attempt: int, late: bool
) -> Decision:
    """Complete what a report does: the account's part, and what the gateway is asked next."""
    after = _standing(payment, events)
    ended = after.state in {"succeeded", "failed"}
    return Decision(
        happenings=[*_of(payment, events), *_settle(payment, events, view)],
        enqueue=None if late or ended else _next_call(payment, command, after.version, view.at, attempt=attempt),
        dequeue=payment.payment_id if ended else None,
        answer=after,
    )


def _next_call(payment: Payment, command: GatewayReport, version: int, at: datetime, *, attempt: int) -> QueueEntry:
    then = command.then
    assert isinstance(then, RetryAfter | InquireAfter), then
    lost_sight = isinstance(command, RecordGatewayOutcome) and command.outcome == "unknown"
    return QueueEntry(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=payment.series,
        gateway_key=payment.gateway_key,
        attempt=attempt,
        action="pay" if isinstance(then, RetryAfter) else "inquire",
        inquiries=command.inquiry if isinstance(command, RecordInquiry) else 0,
        unknown=payment.unknown or lost_sight,
        payment_version=version,
        due_at=at + timedelta(seconds=then.delay_seconds),
    )


# --- an operator's decisions -----------------------------------------------------------------------------------------


def _requeue(command: RequeuePayment, view: View) -> Decision:
    payment = view.payment(command.payment_id)
    requeued = ledger.payment.requeue(payment, why=command.why, same_gateway_key=command.same_gateway_key)
    account = view.account(payment.account_id)
    happenings = _of(payment, [requeued])
    if payment.kind == "deposit":
        pending_minor = view.pending_minor(account.account_id)
        ledger.account.ensure_room(account, pending_minor=pending_minor, incoming_minor=payment.net_minor)
    else:
        held = ledger.account.hold(account, payment_id=payment.payment_id, amount_minor=payment.total_minor)
        happenings.append(Happening(account.id, held, follows=payment.id))
    standing = _standing(payment, [requeued])
    entry = QueueEntry(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        series=requeued.series,
        gateway_key=requeued.gateway_key,
        unknown=payment.in_doubt_under(requeued.gateway_key),
        payment_version=standing.version,
        due_at=view.at,
    )
    return Decision(happenings=happenings, enqueue=entry, answer=standing)


def _resolve(command: ResolvePayment, view: View) -> Decision:
    payment = view.payment(command.payment_id)
    events = ledger.payment.resolve(payment, outcome=command.outcome, why=command.why)
    return Decision(
        happenings=[*_of(payment, events), *_settle(payment, events, view)],
        dequeue=payment.payment_id,
        answer=_standing(payment, events),
    )


# --- parts -----------------------------------------------------------------------------------------------------------


def _settle(payment: Payment, events: Sequence[PaymentEvent], view: View) -> list[Happening]:
    """Do to the account what a payment's end means for it."""
    end = events[-1] if events else None
    if not isinstance(end, PaymentSucceeded | PaymentFailed):
        return []
    account = view.account(payment.account_id)
    event: AccountEvent
    match end, payment.kind:
        case PaymentFailed(), _ if not payment.held:
            return []
        case PaymentFailed(), _:
            event = ledger.account.release(account, payment_id=payment.payment_id, amount_minor=payment.total_minor)
        case PaymentSucceeded(), "deposit":
            if end.ended_by == "reconciliation":
                pending_minor = view.pending_minor(account.account_id)
                ledger.account.ensure_room(account, pending_minor=pending_minor, incoming_minor=payment.net_minor)
            event = ledger.account.credit(
                account,
                payment_id=payment.payment_id,
                gross_minor=payment.amount_minor,
                fee_minor=payment.fee_minor,
            )
        case _:
            event = ledger.account.debit(
                account,
                payment_id=payment.payment_id,
                gross_minor=payment.amount_minor,
                fee_minor=payment.fee_minor,
                held=payment.held,
            )
    return [Happening(account.id, event, follows=payment.id)]


def _of(payment: Payment, events: Sequence[PaymentEvent]) -> list[Happening]:
    return [Happening(payment.id, event) for event in events]


def _standing(payment: Payment, events: Sequence[PaymentEvent]) -> PaymentStanding:
    state = payment.state
    for event in events:
        state = ledger.payment.state_after(state, event)
    return PaymentStanding(payment_id=payment.payment_id, state=state, version=payment.version + len(events))


def _taken(view: View, scope: str, key: str | None, fingerprint: str) -> KeyTaken | None:
    """Look an idempotency key up. Raises IdempotencyKeyReused when it stands for another request."""
    if key is None:
        return None
    taken = view.key_taken(scope, key)
    if taken is None:
        return None
    # A second rule has to write fingerprints by the rule of the key that it meets.
    assert taken.idempotency.fingerprint_version == FINGERPRINT_VERSION
    if taken.idempotency.fingerprint != fingerprint:
        raise IdempotencyKeyReused(key=key)
    return taken


def _idempotency(scope: str, key: str | None, fingerprint: str) -> IdempotencyKey | None:
    if key is None:
        return None
    return IdempotencyKey(scope=scope, key=key, fingerprint=fingerprint, fingerprint_version=FINGERPRINT_VERSION)


def _key(subject_kind: SubjectKind, subject_id: int, idempotency: IdempotencyKey | None) -> KeyTaken | None:
    if idempotency is None:
        return None
    return KeyTaken(subject_kind=subject_kind, subject_id=subject_id, idempotency=idempotency)


def _opening(account: Account, *, replayed: bool) -> AccountOpening:
    return AccountOpening(
        account_id=account.account_id,
        currency=account.currency,
        opening_minor=account.opening_minor,
        replayed=replayed,
    )


def _acceptance(payment: Payment, *, replayed: bool) -> PaymentAcceptance:
    return PaymentAcceptance(
        payment_id=payment.payment_id,
        account_id=payment.account_id,
        kind=payment.kind,
        amount_minor=payment.amount_minor,
        fee_minor=payment.fee_minor,
        currency=payment.currency,
        requested_at=payment.requested_at,
        refused=payment.refused,
        replayed=replayed,
    )
