"""Makes a worker's report to the ledger: of a claimed entry, of the gateway's answer, and of the next step."""

from datetime import datetime
from typing import Any

from ledger.command_ids import new_command_id
from ledger.domain.commands import FollowUp, RecordGatewayOutcome, RecordInquiry
from ledger.domain.decision import QueueAction
from ledger.domain.events import PaymentFacts
from processors.gateways.outcomes import AnswerFacts, GatewayAnswer, InquiryAnswer


class Claim(PaymentFacts, frozen=True):
    """A queue row that this worker has leased, and the database's clock at that moment.

    `lapsed` says that the row had an expired lease of another worker.
    """

    series: int
    gateway_key: str
    attempt: int
    action: QueueAction
    inquiries: int
    unknown: bool
    payment_version: int
    trace_context: str | None
    lapsed: bool
    clock: datetime


def outcome_report(claim: Claim, answer: GatewayAnswer, then: FollowUp) -> RecordGatewayOutcome:
    """Report the outcome of a call."""
    facts = _facts(claim, answer, then)
    return RecordGatewayOutcome(**facts, attempt=claim.attempt, outcome=answer.outcome.NAME)


def inquiry_report(claim: Claim, answer: InquiryAnswer, then: FollowUp) -> RecordInquiry:
    """Report the answer to an inquiry."""
    facts, late = _facts(claim, answer, then), claim.action == "inquire_late"
    return RecordInquiry(**facts, inquiry=claim.inquiries + 1, late=late, answer=answer.outcome.NAME)


def _facts(claim: Claim, answer: AnswerFacts, then: FollowUp) -> dict[str, Any]:
    """Return the fields that reports of both kinds have."""
    return {
        "command_id": new_command_id(),
        "payment_id": claim.payment_id,
        "account_id": claim.account_id,
        "seen_version": claim.payment_version,
        "series": claim.series,
        "gateway_key": claim.gateway_key,
        "http_status": answer.http_status,
        "error": answer.error,
        "reference": answer.reference,
        "answer_digest": answer.answer_digest,
        "elapsed_ms": answer.elapsed_ms,
        "then": then,
    }
