"""Answers about decisions: lists of many letters, reports of their runs, and requests for approval."""

from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from msgspec import UNSET, Struct, UnsetType, field

from api.decisions.approvals import Action, Approval, ApprovalState
from api.decisions.bulk import BulkReport
from api.decisions.bulk_plan import BulkAction, BulkPlan, Money, PlannedLetter, money_of
from api.decisions.gateway_questions import GatewaySaid
from api.decisions.letter_decisions import Decided
from api.http.amounts import decimal
from api.http.times import Timestamp, optional_timestamp, timestamp
from api.views.dead_letters import DeadLetterView, StandingView
from ledger.domain.events import InquiryName, Resolution
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import LetterState


class GatewaySaidView(Struct, frozen=True, kw_only=True):
    """The gateway's answer when it was asked, null when it was not. `error` gives the reason for an unclear answer."""

    answer: InquiryName | None
    error: str | None

    EXAMPLE: ClassVar[object] = {"answer": "approved", "error": None}


class DecisionView(StandingView, frozen=True, kw_only=True):
    """The state of a payment after an operator's decision, in the ledger's own word for it.

    A resolution has `gateway`, what the gateway had said, and `forced` when it went against that. With
    `waits_for_approval` nothing is done yet: a second key has to approve the request `approval_id`. Sent again later,
    `state`, `result` and `detail` are those of the request.
    """

    gateway: GatewaySaidView | UnsetType = UNSET
    forced: bool | UnsetType = UNSET
    approval_id: str | UnsetType = UNSET
    expires_at: Timestamp | UnsetType = UNSET
    result: str | UnsetType = UNSET
    detail: str | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {"payment_id": 1025, "state": "succeeded", "gateway": GatewaySaidView.EXAMPLE}


class PlannedLetterView(Struct, frozen=True, kw_only=True):
    """The effect on one letter: the state that it would get, or the code of the refusal.

    `id` is the letter, and `version` that of its payment. `gateway_key` is the key under which a requeue calls, or the
    one that the gateway was asked about.
    """

    payment_id: int
    id: int
    user_id: int
    payment_type: PaymentKind
    amount: Decimal
    commission: Decimal
    currency: str
    state: LetterState
    error: str
    version: int
    becomes: str | None
    refused: str | None
    gateway_key: str | None
    gateway: GatewaySaidView | UnsetType = UNSET
    forced: bool | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        **{name: value for name, value in DeadLetterView.EXAMPLE.items() if name not in {"attempts", "created_at"}},  # type: ignore[attr-defined]
        "version": 4,
        "becomes": "processing",
        "refused": None,
        "gateway_key": "payment-1025-2_5d41402abc4b2a76",
    }


class MoneyView(Struct, frozen=True, kw_only=True):
    """The money of letters in one currency: their deposits (`in`), their withdrawals (`out`), and the fees of both."""

    currency: str
    letters: int
    coming_in: Decimal = field(name="in")
    going_out: Decimal = field(name="out")
    commission: Decimal

    EXAMPLE: ClassVar[object] = {
        "currency": "USD",
        "letters": 1,
        "in": 0.0,
        "out": 50.0,
        "commission": 1.0,
    }


class BulkPlanView(Struct, frozen=True, kw_only=True):
    """The effect of a decision about many letters, before it is made. `digest` stands for exactly this list.

    `money` is that of the letters about which something would be done, `refused` counts the others by code. `more` says
    that further letters match after the last one of the list.
    """

    digest: str
    action: BulkAction
    outcome: Resolution | None
    force: bool
    letters: int
    going: int
    refused: dict[str, int]
    money: list[MoneyView]
    more: bool
    items: list[PlannedLetterView]

    EXAMPLE: ClassVar[object] = {
        "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "action": "requeue",
        "outcome": None,
        "force": False,
        "letters": 1,
        "going": 1,
        "refused": {},
        "money": [MoneyView.EXAMPLE],
        "more": False,
        "items": [PlannedLetterView.EXAMPLE],
    }


class LetterResultView(Struct, frozen=True, kw_only=True):
    """The result for one letter: the state that it got, or the code of the refusal."""

    payment_id: int
    becomes: str | None
    refused: str | None

    EXAMPLE: ClassVar[object] = {"payment_id": 1025, "becomes": "processing", "refused": None}


class BulkReportView(Struct, frozen=True, kw_only=True):
    """The results of a run so far, with those of the runs before it.

    While `remaining` is not 0, send the same request again: it does the rest, and nothing twice. `as_planned` says that
    each letter came out as the list said. With `approval_id` nothing is done yet: a second key has to approve it.
    """

    digest: str
    done: int
    refused: int
    remaining: int
    as_planned: bool
    money: list[MoneyView]
    results: list[LetterResultView]
    approval_id: str | UnsetType = UNSET
    expires_at: Timestamp | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "done": 1,
        "refused": 0,
        "remaining": 0,
        "as_planned": True,
        "money": [MoneyView.EXAMPLE],
        "results": [LetterResultView.EXAMPLE],
    }


class ApprovalView(Struct, frozen=True, kw_only=True):
    """A request that needs a second key: the decision, who asked for it when and why, and its result.

    `state` is `waiting`, `expired`, `rejected`, `done`, `refused`, or `approved` while it is not carried out: then
    approve it again. It is `key_ended` when the key that asked is live no more, and `before_recovery` when the store
    was recovered since: ask again. `gateway_key` is the key whose money it is about. `result` is the state that the
    payment got, or the code of the refusal.
    """

    id: str
    action: Action
    state: ApprovalState
    payment_id: int | None
    digest: str | None
    outcome: Resolution | None
    against: str | None
    direction: str | None
    amount: Decimal | None
    gateway_key: str | None
    why: str
    requested_by: str
    operator: str
    requested_at: Timestamp
    expires_at: Timestamp
    decided_by: str | None
    decided_operator: str | None
    decided_at: Timestamp | None
    result: str | None
    detail: str | None

    EXAMPLE: ClassVar[object] = {
        "id": "4f1c8a02d7be9635",
        "action": "adjust",
        "state": "waiting",
        "payment_id": 1025,
        "digest": None,
        "outcome": None,
        "against": "suspense",
        "direction": None,
        "amount": None,
        "gateway_key": None,
        "why": "The gateway paid out twice",
        "requested_by": "key:4f1c8a02d7be9635",
        "operator": "Ada Lovelace",
        "requested_at": "2026-11-23T09:30:00.000000Z",
        "expires_at": "2026-11-24T09:30:00.000000Z",
        "decided_by": None,
        "decided_operator": None,
        "decided_at": None,
        "result": None,
        "detail": None,
    }


def decision_view(decided: Decided | Approval) -> DecisionView:
    """Make the answer about a decision that was carried out, or that waits."""
    if isinstance(decided, Approval):
        assert decided.payment_id is not None, decided
        seen = approval_view(decided)
        return DecisionView(
            payment_id=decided.payment_id,
            state="waits_for_approval" if decided.state == "waiting" else decided.state,
            approval_id=decided.id,
            expires_at=timestamp(decided.expires_at),
            result=seen.result or UNSET,
            detail=seen.detail or UNSET,
        )
    standing = decided.standing
    return DecisionView(
        payment_id=standing.payment_id,
        state=standing.state,
        gateway=UNSET if decided.said is None else _said(decided.said),
        forced=decided.forced or UNSET,
    )


def plan_view(plan: BulkPlan, *, more: bool) -> BulkPlanView:
    """Make the answer about a list."""
    return BulkPlanView(
        digest=plan.digest,
        action=plan.decision.action,
        outcome=plan.decision.outcome,
        force=plan.decision.force,
        letters=len(plan.letters),
        going=len(plan.going),
        refused=plan.refused,
        money=_money(money_of(plan.going)),
        more=more,
        items=[_planned(letter, asked=plan.decision.action == "resolve") for letter in plan.letters],
    )


def report_view(report: BulkReport | Approval, *, digest: str) -> BulkReportView:
    """Make the answer about a run, or about one that waits for its approval."""
    if isinstance(report, Approval):
        nothing: dict[str, int] = {"done": 0, "refused": 0, "remaining": 0}
        return BulkReportView(
            digest=digest,
            **nothing,
            as_planned=False,
            money=[],
            results=[],
            approval_id=report.id,
            expires_at=timestamp(report.expires_at),
        )
    results = report.results
    return BulkReportView(
        digest=digest,
        done=len(report.done),
        refused=sum(1 for each in results if each.refused is not None),
        remaining=report.remaining,
        as_planned=report.as_planned,
        money=_money(money_of(report.done)),
        results=[
            LetterResultView(payment_id=each.payment_id, becomes=each.becomes, refused=each.refused) for each in results
        ],
    )


def approval_view(approval: Approval) -> ApprovalView:
    """Make the answer about a request for approval."""
    asked, result = approval.request, approval.result
    return ApprovalView(
        id=approval.id,
        action=approval.action,
        state=approval.state,
        payment_id=approval.payment_id,
        digest=getattr(asked, "digest", None),
        outcome=getattr(asked, "outcome", None),
        against=getattr(asked, "against", None),
        direction=getattr(asked, "direction", None),
        amount=getattr(asked, "amount", None),
        gateway_key=approval.gateway_key,
        why=approval.why,
        requested_by=approval.requested_by,
        operator=approval.operator,
        requested_at=timestamp(approval.requested_at),
        expires_at=timestamp(approval.expires_at),
        decided_by=approval.decided_by,
        decided_operator=approval.decided_operator,
        decided_at=optional_timestamp(approval.decided_at),
        result=None if result is None else result.refused or result.state,
        detail=None if result is None else result.detail,
    )


def _said(said: GatewaySaid) -> GatewaySaidView:
    return GatewaySaidView(answer=said.answer, error=said.error)


def _planned(letter: PlannedLetter, *, asked: bool) -> PlannedLetterView:
    return PlannedLetterView(
        payment_id=letter.payment_id,
        id=letter.letter_id,
        user_id=letter.account_id,
        payment_type=letter.kind,
        amount=decimal(letter.amount_minor, letter.currency),
        commission=decimal(letter.fee_minor, letter.currency),
        currency=letter.currency,
        state=letter.letter_state,
        error=letter.error,
        version=letter.version,
        becomes=letter.becomes,
        refused=letter.refused,
        gateway_key=letter.gateway_key,
        gateway=_said(letter.said) if asked else UNSET,
        forced=letter.forced or UNSET,
    )


def _money(money: Sequence[Money]) -> list[MoneyView]:
    return [
        MoneyView(
            currency=each.currency,
            letters=each.letters,
            coming_in=decimal(each.in_minor, each.currency),
            going_out=decimal(each.out_minor, each.currency),
            commission=decimal(each.fees_minor, each.currency),
        )
        for each in money
    ]
