"""Carries out what a second key has approved, and notes what became of it."""

import asyncio
from math import inf
from typing import Final

from api.decisions.approvals import (
    Approval,
    ApprovalResult,
    BulkRequest,
    Request,
    ask_approval,
    decide_approval,
    note_result,
    read_approval,
)
from api.decisions.bulk import BulkReport, Sender, done_before, ensure_unchanged, read_plan, run_plan
from api.decisions.letter_decisions import Decided, decide, event_under
from api.decisions.parts import DecidingParts
from api.errors import PlanNotFound, RequestInvalid
from ledger.domain.events import PaymentAdjusted, PaymentResolved
from ledger.errors import Refusal, StaleCommand
from ledger.progress import Progress, no_progress

RUN_SECONDS_MAX: Final = 3.0
"""How long one request goes on with a run of many letters; the answer comes within 5 seconds."""

CHANGED: Final = "The payment has changed since it was asked for; ask again."


async def approve(
    parts: DecidingParts, approval_id: str, *, by: str | None, operator: str, seconds: float = inf
) -> Approval:
    """Approve a request and carry it out. An approval that was cut off is carried out when it is given again in time.

    A run of many letters goes on for `seconds`, and is then approved again.

    A refusal by the ledger is the result of the request. Raises what `decide_approval` and the writer raise.
    """
    database = parts.partition.database
    approval = await asyncio.to_thread(decide_approval, database, approval_id, "approved", by=by, operator=operator)
    if approval.result is not None:
        return approval
    if approval.state == "approved":
        result = await _carry_out(parts, approval.to_carry_out, seconds)
    elif (result := await _carried_out(parts, approval)) is None or result.state is None:
        approval.refuse_ended()
    return approval if result is None else await asyncio.to_thread(note_result, database, approval_id, result)


async def reject(parts: DecidingParts, approval_id: str, *, by: str | None, operator: str) -> Approval:
    """Reject a request. One that was approved and cut off can be rejected, unless it was carried out after all.

    Raises what `decide_approval` raises; ApprovalDecided for a request that was carried out, and then that is noted.
    """
    database = parts.partition.database
    approval = await asyncio.to_thread(read_approval, database, approval_id)
    cut_off = approval.decision == "approved" and approval.result is None
    if cut_off and (result := await _carried_out(parts, approval)) is not None and result.state is not None:
        await asyncio.to_thread(note_result, database, approval_id, result)
    rejected = await asyncio.to_thread(decide_approval, database, approval_id, "rejected", by=by, operator=operator)
    if cut_off and (result := await _carried_out(parts, approval)) is not None:
        # It was being carried out at the same time: the ledger has it, so it is done and not rejected.
        return await asyncio.to_thread(note_result, database, approval_id, result)
    return rejected


async def _carried_out(parts: DecidingParts, approval: Approval) -> ApprovalResult | None:
    """Look an approved request up in the ledger: None if nothing of it was done, and no state for a part of it."""
    request = approval.to_carry_out
    if isinstance(request, BulkRequest):
        try:
            plan, _ = await asyncio.to_thread(read_plan, parts, request.digest)
        except PlanNotFound:
            return None
        done, going = len(await asyncio.to_thread(done_before, parts, plan)), len(plan.going)
        return ApprovalResult(state="done" if done == going else None, detail=f"{done} letters done") if done else None
    event = event_under(request, await parts.history.payment(request.payment_id))
    if isinstance(event, PaymentResolved):
        return ApprovalResult(state="succeeded" if event.outcome == "success" else "failed")
    return ApprovalResult(state="adjusted") if isinstance(event, PaymentAdjusted) else None


async def _carry_out(parts: DecidingParts, request: Request, seconds: float) -> ApprovalResult | None:
    """Carry out a request; None when a run of many letters has more to do, and is to be approved again."""
    try:
        if isinstance(request, BulkRequest):
            report = await run_plan(parts, request.digest, sender_of(request), seconds=seconds)
            return None if report.remaining else ApprovalResult(state="done", detail=summary(report))
        decided = await decide(parts, request)
    except StaleCommand as refusal:
        return ApprovalResult(refused=refusal.code, detail=CHANGED)
    except Refusal as refusal:
        return ApprovalResult(refused=refusal.code, detail=refusal.message)
    except RequestInvalid as refusal:
        return ApprovalResult(refused=refusal.code, detail=refusal.facts["summary"])
    assert isinstance(decided, Decided), decided
    return ApprovalResult(state=decided.standing.state)


async def run_or_ask(
    parts: DecidingParts, digest: str, sender: Sender, *, seconds: float = inf, on_progress: Progress[str] = no_progress
) -> BulkReport | Approval:
    """Run a decision about many letters; one that is forced waits for a second key where the ledger needs two.

    Raises what `run_plan` and `ask_approval` raise.
    """
    plan, _ = await asyncio.to_thread(read_plan, parts, digest)
    if not (parts.settings.operate_four_eyes and plan.decision.force):
        return await run_plan(parts, digest, sender, seconds=seconds, on_progress=on_progress)
    await ensure_unchanged(parts, plan)
    request = BulkRequest(
        command_id=sender.command_id, digest=digest, why=sender.why, by=sender.by, operator=sender.operator
    )
    return await asyncio.to_thread(ask_approval, parts.partition.database, request)


def sender_of(request: BulkRequest) -> Sender:
    """Give the sender of a run that was approved."""
    return Sender(
        why=request.why,
        by=request.by,
        operator=request.operator,
        approved_by=request.approved_by,
        command_id=request.command_id,
    )


def summary(report: BulkReport) -> str:
    """Say in a line what a run has done."""
    refused = sum(1 for each in report.results if each.refused is not None)
    return f"{len(report.done)} letters done, {refused} refused"
