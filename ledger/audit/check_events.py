"""Checks each event by itself, without the events before it: its time, its author, its cause, and each of its fields.

Where deciding has a function or a limit for a rule, the check uses it: the fee, the limits of amounts, the known
currencies, the scopes and fingerprints of idempotency keys. `ledger.domain.invariants` has the rules
about the events before it.

Fields that no other fact fixes are free within bounds. `FREE_FIELDS` lists them.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from ledger.command_ids import COMMAND_ID_CHARACTERS
from ledger.domain.commands import (
    AdjustPayment,
    AnyCommand,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
)
from ledger.domain.events import (
    TEXT_CHARACTERS_MAX,
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    GatewayChanged,
    HoldReleased,
    IdempotencyKey,
    LedgerRecovered,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
)
from ledger.domain.identifiers import (
    FINGERPRINT_VERSION,
    ID_MAX,
    SEQUENCE_MAX,
    adjustment_fingerprint,
    decision_scope,
    gateway_key,
    is_gateway_key,
    is_idempotency_key,
    opening_fingerprint,
    opening_scope,
    payment_fingerprint,
    payment_scope,
    requeue_fingerprint,
    resolution_fingerprint,
)
from ledger.domain.kinds import KINDS
from ledger.domain.money import AMOUNT_MINOR_MAX, CURRENCY_DECIMALS, EXACT_MAX, FEE_RATE_PPM_MAX, fee_minor
from ledger.operation.state import CAUSES

FIRST_TIME: Final = datetime(2020, 1, 1, tzinfo=UTC)
"""No ledger is older than the program."""

DELAY_MAX: Final = timedelta(days=2)
"""The longest time from an event to the call or inquiry that it schedules: a delay of a day and a jitter of a day."""

REFERENCE_CHARACTERS_MAX: Final = 255
"""A longer reference of a gateway is cut before it is recorded."""

SCOPE_CHARACTERS_MAX: Final = 300
"""More than the name of a caller, which is part of a scope, may have."""

STATUSES: Final = range(100, 1_000)

FREE_FIELDS: Final[Mapping[str, str]] = {
    "at": "the database's clock, never before the event before; all events of one decision have the same",
    "command_id": "the id of the request; all events of one decision have the same",
    "by": "who sent the command; all events of one decision have the same",
    "operator": "the name that an operator gave; all events of one decision have the same",
    "approved_by": "the second sender of a decision that needs two; all events of one decision have the same",
    "gateway_answer": "the gateway's answer; what is forced must agree with it",
    "gateway_error": "the gateway's answer, or why it was not asked",
    "opening_minor": "the client's wish; the fingerprint and all later events must agree with it",
    "amount_minor of payment.adjusted": "an operator's decision; the account's event and the books agree with it",
    "direction": "an operator's decision; the account's event and the books agree with it",
    "against": "an operator's decision; the account's event and the books agree with it",
    "gateway_key of payment.requested": "the payment's id with a salt, drawn at random for each batch",
    "asks_first": "the setting of the operator's process",
    "call_at": "the worker's policy; at most `DELAY_MAX` after the event",
    "amount_minor": "the client's wish; the fee, the fingerprint and all later events must agree with it",
    "idempotency": "the client's choice whether to send a key",
    "idempotency.scope": "the caller who opens an account; a payment's key is its user's, a decision's its payment's",
    "idempotency.key": "the client's choice; the table of keys must agree with it",
    "fee_rate_ppm": "the setting at the time of the request; the fee must agree with it",
    "outcome": "the gateway's answer; the events that follow from it must agree with it",
    "http_status": "the gateway's answer",
    "error": "the gateway's answer",
    "reference": "the gateway's answer; the success that follows from it has the same",
    "answer_digest": "the gateway's answer",
    "elapsed_ms": "the worker's measurement",
    "series of payment.contradicted": "the series in which the key was used; an operator may use a key again",
    "retry_at": "the worker's policy; at most `DELAY_MAX` after the event",
    "inquire_at": "the worker's policy; at most `DELAY_MAX` after the event",
    "reason": "the word for the error",
    "why": "an operator's words, or the two servers of a store that was moved",
    "next_account_id": "the size of the gap; never below the numbers that were given",
    "next_payment_sequence": "the size of the gap; never below the numbers that were given",
    "calls": "how many entries of the queue had an open call; never more than there are payments",
}
"""The fields of events that are free within bounds, each with its source."""

_COMMAND_ID: Final = re.compile(COMMAND_ID_CHARACTERS)
_DIGEST: Final = re.compile("[0-9a-f]{64}")
_OPENING_SCOPE: Final = opening_scope("")


# --- requests --------------------------------------------------------------------------------------------------------


def _wrong_with_opening(recorded: Recorded[AccountOpened]) -> str | None:
    event = recorded.data
    if event.currency not in CURRENCY_DECIMALS:
        return f"there is no currency {event.currency[:16]!r}"
    if not 0 <= event.opening_minor <= AMOUNT_MINOR_MAX:
        return f"it opens an account with {event.opening_minor}"
    key = event.idempotency
    if key is None:
        return None
    if not key.scope.startswith(_OPENING_SCOPE) or len(key.scope) > SCOPE_CHARACTERS_MAX:
        return f"its idempotency key belongs to {key.scope[:100]!r}"
    return _wrong_with_key(key, fingerprint=opening_fingerprint(event.opening_minor, event.currency))


def _wrong_with_request(recorded: Recorded[PaymentRequested]) -> str | None:
    event = recorded.data
    amount_minor, rate_ppm = event.amount_minor, event.fee_rate_ppm
    if recorded.cause != KINDS[event.kind].command:
        return f"it cannot be caused by {recorded.cause!r}"
    if event.payment_id > ID_MAX:
        return "the payment's id is too large"
    if not (0 < amount_minor <= AMOUNT_MINOR_MAX and 0 <= rate_ppm <= FEE_RATE_PPM_MAX):
        return f"its amount is {amount_minor} and the rate of its fee {rate_ppm} ppm"
    if event.fee_minor != fee_minor(amount_minor, rate_ppm=rate_ppm):
        return f"its fee is {event.fee_minor}, which is not {rate_ppm} ppm of {amount_minor}"
    key_of_ours = is_gateway_key(event.first_gateway_key, payment_id=event.payment_id, series=1)
    if not key_of_ours or event.gateway_key == gateway_key(event.payment_id, 1):
        return f"its gateway key is {event.gateway_key[:100]!r}"
    key = event.idempotency
    if key is None:
        return None
    if key.scope != payment_scope(event.account_id):
        return f"its idempotency key belongs to {key.scope[:100]!r}"
    return _wrong_with_key(key, fingerprint=payment_fingerprint(event.kind, event.account_id, amount_minor))


def _wrong_with_key(idempotency: IdempotencyKey, *, fingerprint: str) -> str | None:
    if not is_idempotency_key(idempotency.key):
        return "its idempotency key is not 1 to 255 printable ASCII characters"
    if (idempotency.fingerprint_version, idempotency.fingerprint) != (FINGERPRINT_VERSION, fingerprint):
        return "the fingerprint of its idempotency key is not that of the request"
    return None


# --- answers of the gateway ------------------------------------------------------------------------------------------


def _wrong_with_attempt(recorded: Recorded[GatewayAttempted]) -> str | None:
    event = recorded.data
    due_at = event.retry_at or event.inquire_at
    if due_at is None:
        return _wrong_with_answer(recorded)
    both = event.retry_at is not None and event.inquire_at is not None
    retried_in_vain = event.retry_at is not None and event.outcome == "declined"
    if event.late or event.outcome == "approved" or retried_in_vain or both:
        return f"an attempt that was {event.outcome} has no such next step"
    return _wrong_with_due(recorded, due_at) or _wrong_with_answer(recorded)


def _wrong_with_due(recorded: Recorded[Any], due_at: datetime | None) -> str | None:
    if due_at is None or (due_at.tzinfo is UTC and FIRST_TIME <= due_at <= recorded.at + DELAY_MAX):
        return None
    return f"its next step is due at {due_at}"


def _wrong_with_inquiry(recorded: Recorded[PaymentInquired]) -> str | None:
    due_at = recorded.data.call_at or recorded.data.inquire_at
    return _wrong_with_due(recorded, due_at) or _wrong_with_answer(recorded)


def _wrong_with_failure(recorded: Recorded[PaymentFailed]) -> str | None:
    return _wrong_with_due(recorded, recorded.data.inquire_at) or _wrong_with_text("reason", recorded.data.reason)


def _wrong_with_adjustment(recorded: Recorded[PaymentAdjusted]) -> str | None:
    if not 0 < recorded.data.amount_minor <= AMOUNT_MINOR_MAX:
        return f"it books {recorded.data.amount_minor}"
    return _wrong_with_decision(recorded)


def _wrong_with_answer(recorded: Recorded[Any]) -> str | None:
    event: GatewayAttempted | PaymentInquired | PaymentContradicted = recorded.data
    if event.http_status is not None and event.http_status not in STATUSES:
        return f"the gateway's status is {event.http_status}"
    if event.reference is not None and not 0 < len(event.reference) <= REFERENCE_CHARACTERS_MAX:
        return f"the gateway's reference has {len(event.reference)} characters"
    if event.answer_digest is not None and _DIGEST.fullmatch(event.answer_digest) is None:
        return "the digest of the gateway's answer is not a SHA-256"
    if isinstance(event, PaymentContradicted):
        return None
    if not 0 <= event.elapsed_ms <= EXACT_MAX:
        return f"the gateway's answer took {event.elapsed_ms} ms"
    return None if event.error is None else _wrong_with_text("error", event.error)


# --- words -----------------------------------------------------------------------------------------------------------


def _wrong_with_reason(recorded: Recorded[PaymentParked]) -> str | None:
    return _wrong_with_text("reason", recorded.data.reason)


def _wrong_with_decision(recorded: Recorded[Any]) -> str | None:
    event: PaymentRequeued | PaymentResolved | PaymentAdjusted = recorded.data
    if event.idempotency is None:
        return _wrong_with_text("why", event.why)
    if event.idempotency.scope != decision_scope(event.payment_id):
        return f"its idempotency key belongs to {event.idempotency.scope[:100]!r}"
    # The request need not name the contradiction that is meant when there is only one.
    named = event.idempotency.fingerprint.rpartition("/")[2]
    gateway_key = named if not isinstance(event, PaymentRequeued) and named == event.gateway_key else ""
    if isinstance(event, PaymentRequeued):
        fingerprint = requeue_fingerprint(event.payment_id)
    elif isinstance(event, PaymentResolved):
        fingerprint = resolution_fingerprint(event.payment_id, event.outcome, gateway_key)
    else:
        booked = (event.against, event.direction, event.amount_minor, gateway_key)
        fingerprint = adjustment_fingerprint(event.payment_id, *booked)
    return _wrong_with_key(event.idempotency, fingerprint=fingerprint) or _wrong_with_text("why", event.why)


def _wrong_with_resolution(recorded: Recorded[PaymentResolved]) -> str | None:
    error = recorded.data.gateway_error
    if error is not None and recorded.data.gateway_answer not in {None, "no_clear_answer"}:
        return f"the gateway said {recorded.data.gateway_answer}, and could not be asked"
    return _wrong_with_decision(recorded) or (None if error is None else _wrong_with_text("gateway_error", error))


def _wrong_with_recovery(recorded: Recorded[LedgerRecovered]) -> str | None:
    event = recorded.data
    if not (1 <= event.next_account_id <= ID_MAX and 0 <= event.next_payment_sequence <= SEQUENCE_MAX):
        return f"it goes on with account {event.next_account_id} and with payment {event.next_payment_sequence}"
    if not 0 <= event.calls <= event.next_payment_sequence:
        return f"it counts {event.calls} calls"
    return _wrong_with_text("why", event.why)


def _wrong_with_operation(recorded: Recorded[GatewayChanged]) -> str | None:
    event = recorded.data
    if recorded.cause != CAUSES[event.change]:
        return f"{event.change} cannot be caused by {recorded.cause!r}"
    return _wrong_with_text("gateway", event.gateway) or _wrong_with_text("why", event.why)


def _wrong_with_text(name: str, text: str) -> str | None:
    return None if 0 < len(text) <= TEXT_CHARACTERS_MAX else f"its {name} has {len(text)} characters"


# --- all events ------------------------------------------------------------------------------------------------------


class EventRule(NamedTuple):
    """The rule for a class of events: the commands that may cause one, and the check of its fields.

    `causes` is None for an event that follows from another one of the same decision: the replay compares its cause.
    `wrong_with` is None where every field must equal the one that the payment's events require.
    """

    causes: frozenset[str] | None
    wrong_with: Callable[[Any], str | None] | None


def _caused_by(*commands: type[AnyCommand]) -> frozenset[str]:
    return frozenset(command.__name__ for command in commands)


RULES: Final[Mapping[type[AnyEvent], EventRule]] = {
    AccountOpened: EventRule(_caused_by(OpenAccount), _wrong_with_opening),
    FundsHeld: EventRule(None, None),
    HoldReleased: EventRule(None, None),
    AccountCredited: EventRule(None, None),
    AccountDebited: EventRule(None, None),
    AccountAdjusted: EventRule(None, None),
    PaymentRequested: EventRule(_caused_by(RequestDeposit, RequestWithdrawal), _wrong_with_request),
    GatewayAttempted: EventRule(_caused_by(RecordGatewayOutcome), _wrong_with_attempt),
    PaymentInquired: EventRule(_caused_by(RecordInquiry), _wrong_with_inquiry),
    PaymentSucceeded: EventRule(None, None),
    PaymentFailed: EventRule(None, _wrong_with_failure),
    PaymentParked: EventRule(None, _wrong_with_reason),
    PaymentRequeued: EventRule(_caused_by(RequeuePayment), _wrong_with_decision),
    PaymentContradicted: EventRule(_caused_by(RecordGatewayOutcome, RecordInquiry), _wrong_with_answer),
    PaymentResolved: EventRule(_caused_by(ResolvePayment), _wrong_with_resolution),
    PaymentAdjusted: EventRule(_caused_by(AdjustPayment), _wrong_with_adjustment),
    LedgerRecovered: EventRule(frozenset({"recover"}), _wrong_with_recovery),
    GatewayChanged: EventRule(frozenset(CAUSES.values()), _wrong_with_operation),
}
"""The rule for every class of events."""


def wrong_with_event(recorded: Recorded[AnyEvent], *, latest: datetime) -> str | None:
    """Describe the fault of an event by itself, or return None. Its time may be `latest` at most."""
    if not FIRST_TIME <= recorded.at <= latest:
        return f"the event's time is {recorded.at}"
    if _COMMAND_ID.fullmatch(recorded.command_id) is None:
        return "its command's id is not that of a request"
    for name in recorded.sender:
        if name is not None and not 0 < len(name) <= TEXT_CHARACTERS_MAX:
            return f"the name of who sent its command has {len(name)} characters"
    if recorded.approved_by is not None and recorded.approved_by == recorded.by:
        return "the sender of its command has approved it too"
    causes, wrong_with = RULES[type(recorded.data)]
    if causes is not None and recorded.cause not in causes:
        return f"it cannot be caused by {recorded.cause[:100]!r}"
    return None if wrong_with is None else wrong_with(recorded)
