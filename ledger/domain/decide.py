"""Decides each command: the only place where money moves.

A decision is a pure function from a command and the state of the ledger (`LedgerView`) to a `Decision`: the events, the
change to the gateway queue, the idempotency key taken, and the answer. Nothing is applied here; the writer applies a
decision to its view, so that the next command of the same batch sees it, and stores it. A refusal is raised.

Rules about one account are in `account`, rules about one payment in `payment`. This module joins them: the end of a
payment settles or releases the account's money in the same decision.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal, assert_never

from msgspec.structs import replace

import ledger.domain.account
import ledger.domain.payment
from ledger.domain.account_effects import admit, book, ensure_few_waiting, evolved, planned, settle, standing
from ledger.domain.commands import (
    AccountOpening,
    AdjustPayment,
    AnyCommand,
    Fail,
    GatewayReport,
    InquireAfter,
    OpenAccount,
    OperatorDecision,
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
from ledger.domain.decision import (
    Decision,
    LedgerView,
    PlannedEvent,
    QueueAction,
    QueueEntry,
    goes_against,
    idempotency_key,
    key_in_question,
    record_of,
    taken_under,
)
from ledger.domain.events import (
    AccountOpened,
    PaymentAdjusted,
    PaymentEvent,
    PaymentFailed,
    PaymentRequested,
    facts_of,
)
from ledger.domain.identifiers import (
    ID_MAX,
    account_stream,
    adjustment_fingerprint,
    gateway_key,
    opening_fingerprint,
    payment_fingerprint,
    payment_id,
    payment_stream,
    requeue_fingerprint,
    resolution_fingerprint,
)
from ledger.domain.kinds import KINDS
from ledger.domain.money import fee_minor, minor_units
from ledger.domain.payment import Payment, PaymentState
from ledger.errors import (
    AmountInvalid,
    CurrencyNotSupported,
    GatewayDisagrees,
    IdempotencyKeyMissing,
    InsufficientFunds,
    StaleCommand,
)


def decide(command: AnyCommand, view: LedgerView) -> Decision:
    """Decide one command. Raises a Refusal if a rule forbids it, and TooManyWaiting if one forbids it now."""
    match command:
        case RequestDeposit() | RequestWithdrawal():
            return _request(command, view)
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
        case AdjustPayment():
            return _adjust(command, view)
        case never:
            assert_never(never)


# --- a client's requests ---------------------------------------------------------------------------------------------


def _open_account(command: OpenAccount, view: LedgerView) -> Decision:
    currency = _opening_currency(command, view)
    opening_minor = minor_units(command.opening, currency=currency)
    idempotency = idempotency_key(command.key, opening_fingerprint(opening_minor, currency))
    taken = taken_under(view, idempotency)
    if taken is not None:
        first = view.account(taken.subject_id)
        answer = AccountOpening(account_id=first.account_id, currency=first.currency, opening_minor=first.opening_minor)
        return Decision(answer=replace(answer, replayed=True))
    account_id = view.next_account_id
    assert 1 <= account_id <= ID_MAX, account_id
    assert opening_minor >= 0, opening_minor
    opened = AccountOpened(currency=currency, opening_minor=opening_minor, idempotency=idempotency)
    return Decision(
        planned=[PlannedEvent(account_stream(account_id), opened)],
        key=record_of("account", account_id, idempotency),
        answer=AccountOpening(account_id=account_id, currency=currency, opening_minor=opening_minor),
    )


def _opening_currency(command: OpenAccount, view: LedgerView) -> str:
    """Choose the currency of an opening.

    A replay that names none has the currency of the account that the first request opened: the settings may have
    changed since, and nothing of them may make it another request.
    """
    taken = None if command.names_currency or command.key is None else view.key_taken(*command.key)
    return command.currency if taken is None else view.account(taken.subject_id).currency


def _request(command: RequestPayment, view: LedgerView) -> Decision:
    account, kind = view.account(command.account_id), command.kind.name
    amount_minor = _payable(command.amount, currency=account.currency)
    idempotency = idempotency_key(command.key, payment_fingerprint(kind, account.account_id, amount_minor))
    taken = taken_under(view, idempotency)
    if taken is not None:
        first = view.payment(taken.subject_id)
        answer = PaymentAcceptance(
            *facts_of(first),
            requested_at=first.requested_at,
            refused=first.refused,
            available_minor=first.available_minor if first.refused else None,
            replayed=True,
        )
        return Decision(answer=answer)
    if command.currencies and account.currency not in command.currencies:
        raise CurrencyNotSupported(currency=account.currency)
    ensure_few_waiting(account, command.waiting_max, view)
    new_id = payment_id(view.next_payment_sequence, account.account_id)
    requested = PaymentRequested(
        payment_id=new_id,
        account_id=account.account_id,
        kind=kind,
        amount_minor=amount_minor,
        fee_minor=fee_minor(amount_minor, rate_ppm=command.fee_rate_ppm),
        fee_rate_ppm=command.fee_rate_ppm,
        currency=account.currency,
        idempotency=idempotency,
        gateway_key=gateway_key(new_id, 1, view.key_salt) if view.key_salt else "",
    )
    assert 1 <= requested.payment_id <= ID_MAX, requested
    assert 0 <= requested.fee_minor <= amount_minor, requested
    facts, stream = facts_of(requested), payment_stream(requested.payment_id)
    events = [PlannedEvent(stream, requested)]
    available_minor = None
    try:
        events += admit(account, requested, view)
    except InsufficientFunds as refusal:
        available_minor = refusal.available_minor
        failed = PaymentFailed(
            *facts, series=1, ended_by="request", reason=refusal.code, available_minor=available_minor
        )
        events.append(PlannedEvent(stream, failed, follows=stream))
    refused = available_minor is not None
    return Decision(
        planned=events,
        enqueue=None if refused else _first_call(requested, view.now, command.trace_context),
        key=record_of("payment", requested.payment_id, idempotency),
        answer=PaymentAcceptance(*facts, requested_at=view.at, refused=refused, available_minor=available_minor),
    )


def _payable(amount: Decimal, *, currency: str) -> int:
    amount_minor = minor_units(amount, currency=currency)
    if amount_minor == 0:
        raise AmountInvalid(why="it is zero")
    return amount_minor


def _first_call(requested: PaymentRequested, now: datetime, trace_context: str | None) -> QueueEntry:
    return QueueEntry(
        *facts_of(requested),
        series=1,
        gateway_key=requested.first_gateway_key,
        payment_version=1,
        due_at=now,
        trace_context=trace_context,
    )


# --- the gateway's reports -------------------------------------------------------------------------------------------


def _record_outcome(command: RecordGatewayOutcome, view: LedgerView) -> Decision:
    payment = view.payment(command.payment_id)
    events = ledger.domain.payment.record_outcome(payment, command, at=view.now)
    return _report(payment, command, events, view, late=ledger.domain.payment.is_late(payment, command))


def _record_inquiry(command: RecordInquiry, view: LedgerView) -> Decision:
    payment = view.payment(command.payment_id)
    events = ledger.domain.payment.record_inquiry(payment, command, at=view.now)
    if ledger.domain.payment.is_late_inquiry(payment, command):
        asks_again = isinstance(command.then, InquireAfter)
        return Decision(
            planned=planned(payment, events),
            enqueue=_next_call(payment, command, events, view) if asks_again else None,
            dequeue=None if asks_again else payment.payment_id,
            answer=standing(payment, events),
        )
    return _report(payment, command, events, view, late=ledger.domain.payment.is_late(payment, command))


def _report(
    payment: Payment, command: GatewayReport, events: list[PaymentEvent], view: LedgerView, *, late: bool
) -> Decision:
    """Complete what a report does: the account's part, and what the gateway is asked next.

    A report about a payment that had failed before leaves its late inquiry alone.
    """
    after, end = standing(payment, events), events[-1] if events else None
    ended = after.state in {"succeeded", "failed"}
    asks_again = isinstance(end, PaymentFailed) and end.inquire_at is not None
    goes_on = asks_again or not (late or ended)
    asked_late = payment.late_inquiries is not None
    return Decision(
        planned=[*planned(payment, events), *settle(payment, events, view)],
        enqueue=_next_call(payment, command, events, view) if goes_on else None,
        dequeue=payment.payment_id if ended and not goes_on and not asked_late else None,
        answer=after,
    )


def _next_call(
    payment: Payment, command: GatewayReport, events: Sequence[PaymentEvent], view: LedgerView
) -> QueueEntry:
    """Give what the gateway is called or asked about next, once `events` have happened to the payment."""
    after = evolved(payment, events, view.at)
    match command.then:
        case RetryAfter(delay_seconds=delay_seconds):
            action: QueueAction = "pay"
        case Fail(inquire_after_seconds=(int() | float()) as delay_seconds):
            action = "inquire_late"
        case InquireAfter(delay_seconds=delay_seconds):
            action = "inquire_late" if after.ended else "inquire_first" if after.asks_first else "inquire"
        case then:
            raise AssertionError(then)
    assert delay_seconds >= 0, command
    inquiries = command.inquiry if isinstance(command, RecordInquiry) and action != "pay" else 0
    return _entry(after, action, due_at=view.now + timedelta(seconds=delay_seconds), inquiries=inquiries)


def _entry(after: Payment, action: QueueAction, *, due_at: datetime, inquiries: int = 0) -> QueueEntry:
    """Give the queue entry of a payment as it is after its events."""
    return QueueEntry(
        *facts_of(after),
        series=after.series,
        gateway_key=after.gateway_key,
        attempt=after.attempt,
        action=action,
        inquiries=after.late_inquiries or 0 if action == "inquire_late" else inquiries,
        unknown=after.unknown,
        payment_version=after.version,
        due_at=due_at,
    )


# --- an operator's decisions -----------------------------------------------------------------------------------------


def _requeue(command: RequeuePayment, view: LedgerView) -> Decision:
    payment = view.payment(command.payment_id)
    idempotency = idempotency_key(command.key, requeue_fingerprint(payment.payment_id))
    if taken_under(view, idempotency) is not None:
        return _decided_before(payment, "processing")
    refuse_changed(payment, command)
    if command.currencies and payment.currency not in command.currencies:
        raise CurrencyNotSupported(currency=payment.currency)
    requeued = ledger.domain.payment.requeue(
        payment, why=command.why, ask_first=command.ask_first, idempotency=idempotency
    )
    account = view.account(payment.account_id)
    after, answer = evolved(payment, [requeued], view.at), standing(payment, [requeued])
    assert answer.state == "processing", answer
    entry = QueueEntry(
        *facts_of(payment),
        series=after.series,
        gateway_key=after.gateway_key,
        action="inquire_first" if after.asks_first else "pay",
        unknown=after.unknown,
        payment_version=after.version,
        due_at=view.now,
    )
    return Decision(
        planned=[*planned(payment, [requeued]), *admit(account, payment, view)],
        enqueue=entry,
        key=record_of("payment", payment.payment_id, idempotency),
        answer=answer,
    )


def _resolve(command: ResolvePayment, view: LedgerView) -> Decision:
    payment = view.payment(command.payment_id)
    fingerprint = resolution_fingerprint(payment.payment_id, command.outcome, command.gateway_key or "")
    idempotency = idempotency_key(command.key, fingerprint)
    if taken_under(view, idempotency) is not None:
        return _decided_before(payment, "succeeded" if command.outcome == "success" else "failed")
    refuse_changed(payment, command)
    resolved, *end = ledger.domain.payment.resolve(
        payment, outcome=command.outcome, why=command.why, gateway_key=command.gateway_key, idempotency=idempotency
    )
    forced = goes_against(payment, command.outcome, command.gateway_answer)
    if forced and not command.force:
        key = key_in_question(payment, command.gateway_key)
        raise GatewayDisagrees(payment_id=payment.payment_id, gateway_key=key, answer=str(command.gateway_answer))
    asked = {"gateway_answer": command.gateway_answer, "gateway_error": command.gateway_error, "forced": forced}
    due_at = None if payment.ended else _late_inquiry(command, view)
    end = [replace(each, inquire_at=due_at) if isinstance(each, PaymentFailed) else each for each in end]
    events = [replace(resolved, **asked), *end]
    answer = standing(payment, events)
    assert answer.state in {"succeeded", "failed"}, "a resolved payment has no further calls, and no inquiries but late"
    after = evolved(payment, events, view.at)
    asked_late = after.late_inquiries is not None
    return Decision(
        planned=[*planned(payment, events), *settle(payment, events, view)],
        enqueue=_entry(after, "inquire_late", due_at=due_at) if asked_late and due_at is not None else None,
        dequeue=None if asked_late else payment.payment_id,
        key=record_of("payment", payment.payment_id, idempotency),
        answer=answer,
    )


def _late_inquiry(command: ResolvePayment, view: LedgerView) -> datetime | None:
    """Return when the gateway, which may not know it yet, is asked again about a payment that is closed as failed."""
    if command.inquire_after_seconds is None or command.gateway_answer in {"approved", "declined"}:
        return None
    return view.now + timedelta(seconds=command.inquire_after_seconds)


def _adjust(command: AdjustPayment, view: LedgerView) -> Decision:
    payment = view.payment(command.payment_id)
    amount, direction = command.amount, command.direction or KINDS[payment.kind].direction
    amount_minor = payment.amount_minor if amount is None else _payable(amount, currency=payment.currency)
    booked = (command.against, direction, amount_minor, command.gateway_key or "")
    idempotency = idempotency_key(command.key, adjustment_fingerprint(payment.payment_id, *booked))
    if taken_under(view, idempotency) is not None:
        return _decided_before(payment, "adjusted")
    refuse_changed(payment, command)
    ledger.domain.payment.ensure_adjustable(payment)
    settled = ledger.domain.payment.booked_key(payment, command.gateway_key)
    if not settled and idempotency is None:
        raise IdempotencyKeyMissing
    adjusted = PaymentAdjusted(
        payment_id=payment.payment_id,
        currency=payment.currency,
        direction=direction,
        amount_minor=amount_minor,
        against=command.against,
        why=command.why,
        gateway_key=settled,
        idempotency=idempotency,
    )
    return Decision(
        planned=[*planned(payment, [adjusted]), *book(payment, adjusted, view)],
        key=record_of("payment", payment.payment_id, idempotency),
        answer=replace(standing(payment, [adjusted]), state="adjusted"),
    )


def refuse_changed(payment: Payment, command: OperatorDecision) -> None:
    """Refuse a decision about a payment that has changed since it was seen. Raises StaleCommand."""
    if command.seen_version not in {None, payment.version}:
        seen = command.seen_version or 0
        raise StaleCommand(payment_id=payment.payment_id, seen_version=seen, version=payment.version)


def _decided_before(payment: Payment, state: PaymentState | Literal["adjusted"]) -> Decision:
    """Answer an operator's decision that was carried out before, as it was answered then."""
    answer = PaymentStanding(payment_id=payment.payment_id, state=state, version=payment.version, replayed=True)
    return Decision(answer=answer)
