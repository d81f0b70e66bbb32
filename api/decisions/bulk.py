"""Requeues or resolves many letters: first the list of the effects, then the run by the digest of that list.

The list is stored under its digest. The first run makes the list again, and does nothing when it has another digest.
Then the letters go through the writer in its batches, each with an idempotency key of the digest and of its payment,
and at the version that the list has. So a run that was cut off, or has used up its time, is given again with the same
digest: it does the rest, and nothing twice. A letter that has changed since the list was made is refused, and reported.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from math import inf
from typing import Any, Final

import psycopg
from msgspec import Struct
from msgspec.structs import asdict, replace

from api.decisions.bulk_plan import (
    BulkDecision,
    BulkPlan,
    LetterFilter,
    PlannedLetter,
    decode_plan,
    encode_plan,
    planned_letter,
)
from api.decisions.gateway_questions import AT_A_TIME, GatewaySaid, ManyQuestions, late_inquiry_seconds
from api.decisions.parts import DecidingParts
from api.errors import LettersChanged, PlanNotFound, RequestInvalid
from api.operator.dead_letters import requeue_payment
from ledger.domain.commands import Command, PaymentStanding, RequeuePayment, ResolvePayment
from ledger.domain.decision import key_in_question
from ledger.domain.identifiers import decision_scope
from ledger.errors import LedgerError, Refusal
from ledger.progress import Progress, no_progress
from ledger.sessions.answer_limit import answer_within
from ledger.store.database import WARNED
from ledger.store.idempotency_keys import ask_keys, keys_taken
from ledger.store.log import clock_of
from ledger.store.statements import load_statements
from ledger.writer.rehearsal import Rehearsed, rehearse
from projections.models.dead_letter import Letter

SQL: Final = load_statements("api.decisions", "bulk.sql")

PLAN_LIFETIME: Final = timedelta(days=7)
LETTERS_AT_ONCE: Final = 500
"""How many letters go to the writer together."""

ANSWER_SECONDS_MAX: Final = 10.0


class LetterResult(Struct, frozen=True, kw_only=True):
    """The result for one letter: the state that it got, or the code of the refusal. `before` means an earlier run."""

    payment_id: int
    becomes: str | None = None
    refused: str | None = None
    before: bool = False


class BulkReport(Struct, frozen=True, kw_only=True):
    """The results of a run: each letter of the list that was reached, in order, and how many were not reached."""

    plan: BulkPlan
    results: Sequence[LetterResult]
    remaining: int

    @property
    def done(self) -> list[PlannedLetter]:
        """The letters that were decided about, in this run or one before."""
        done = {result.payment_id for result in self.results if result.refused is None}
        return [letter for letter in self.plan.letters if letter.payment_id in done]

    @property
    def as_planned(self) -> bool:
        """Whether each letter came out as the list says."""
        came_out = {each.payment_id: (each.becomes, each.refused) for each in self.results}
        planned = {each.payment_id: (each.becomes, each.refused) for each in self.plan.letters}
        return came_out == planned


class Sender(Struct, frozen=True, kw_only=True):
    """The sender of a decision about many letters, and the reason."""

    why: str
    by: str | None
    operator: str | None = None
    approved_by: str | None = None
    command_id: str


_REHEARSAL: Final = Sender(why="a rehearsal", by=None, command_id="rehearsal")


# --- the list --------------------------------------------------------------------------------------------------------


async def make_plan(
    parts: DecidingParts,
    decision: BulkDecision,
    chosen: LetterFilter,
    *,
    limit: int,
    by: str | None = None,
    seconds: float = inf,
    on_progress: Progress[str] = no_progress,
) -> tuple[BulkPlan, bool]:
    """List what a decision would do, store the list, and tell whether more letters match beyond it.

    It has at most `limit` letters, and of a resolution only as many as the gateway could be asked about in `seconds`.
    Raises DatabaseUnavailable and psycopg.Error.
    """
    until = time.monotonic() + seconds
    letters, more = await asyncio.to_thread(_letters, parts, chosen, limit)
    said: dict[int, GatewaySaid] = {}
    if decision.action == "resolve":
        said = await _ask_all(parts, letters, decision, until=until, on_progress=on_progress)
        more = more or len(said) < len(letters)
        letters = letters[: len(said)]
    plan = await asyncio.to_thread(_planned, parts, decision, chosen, letters, said)
    await asyncio.to_thread(_store, parts, plan, by)
    return plan, more


def _letters(parts: DecidingParts, chosen: LetterFilter, limit: int) -> tuple[list[Letter], bool]:
    """Read the letters that a filter chooses, oldest first, and whether there are more."""
    with closing(_connect(parts)) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        rows = connection.execute(SQL["list_letters"], asdict(chosen) | {"limit": limit + 1}).fetchall()
    found = [Letter(*row) for row in rows]
    return found[:limit], len(found) > limit


async def _ask_all(
    parts: DecidingParts,
    letters: Sequence[Letter],
    decision: BulkDecision,
    *,
    until: float,
    on_progress: Progress[str],
) -> dict[int, GatewaySaid]:
    """Ask the gateway about letters, in order, until the time is over; about those that can be resolved at all."""
    unasked = replace(decision, force=True)
    commands = [_command(parts, unasked, letter.payment_id, _REHEARSAL, said=None) for letter in letters]
    rehearsed = await asyncio.to_thread(_rehearse, parts, commands)
    questions = ManyQuestions(parts.questions, parts.settings)
    said: dict[int, GatewaySaid] = {}
    for first in range(0, len(letters), AT_A_TIME):
        if time.monotonic() >= until and first:
            break
        on_progress("asking the gateway", first, len(letters))
        await questions.look()
        asked = rehearsed[first : first + AT_A_TIME]
        answers = await asyncio.gather(*[_asked(questions, each) for each in asked])
        said |= zip((each.payment_id for each in letters[first : first + AT_A_TIME]), answers, strict=True)
    return said


async def _asked(questions: ManyQuestions, rehearsed: Rehearsed) -> GatewaySaid:
    payment = rehearsed.payment
    if payment is None or isinstance(rehearsed.result, Refusal):
        return GatewaySaid()
    return await questions.ask(payment.payment_id, key_in_question(payment, None))


def _planned(
    parts: DecidingParts,
    decision: BulkDecision,
    chosen: LetterFilter,
    letters: Sequence[Letter],
    said: Mapping[int, GatewaySaid],
) -> BulkPlan:
    """Rehearse a decision about letters, with what the gateway has said."""
    commands = [
        _command(parts, decision, each.payment_id, _REHEARSAL, said=said.get(each.payment_id)) for each in letters
    ]
    rehearsed = _rehearse(parts, commands)
    planned = [planned_letter(*each) for each in zip(letters, commands, rehearsed, strict=True)]
    return BulkPlan(decision=decision, chosen=chosen, letters=planned)


def _rehearse(parts: DecidingParts, commands: Sequence[RequeuePayment | ResolvePayment]) -> list[Rehearsed]:
    return rehearse(parts.partition.database, commands, slots=parts.partition.slots)


def _command(
    parts: DecidingParts, decision: BulkDecision, payment_id: int, sender: Sender, *, said: GatewaySaid | None
) -> RequeuePayment | ResolvePayment:
    """Give the command about one letter."""
    if decision.action == "requeue":
        command = requeue_payment(
            parts.settings,
            command_id=sender.command_id,
            payment_id=payment_id,
            why=sender.why,
            by=sender.by,
            operator=sender.operator,
            idempotency_key=None,
        )
        return replace(command, approved_by=sender.approved_by)
    assert decision.outcome is not None, decision
    said = said or GatewaySaid()
    return ResolvePayment(
        command_id=sender.command_id,
        payment_id=payment_id,
        outcome=decision.outcome,
        why=sender.why,
        by=sender.by,
        operator=sender.operator,
        approved_by=sender.approved_by,
        gateway_answer=said.answer,
        gateway_error=said.error,
        force=decision.force,
        inquire_after_seconds=late_inquiry_seconds(parts.settings),
    )


def _store(parts: DecidingParts, plan: BulkPlan, by: str | None) -> None:
    with closing(_connect(parts)) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        facts = {"digest": plan.digest, "plan": encode_plan(plan), "by": by, "now": clock_of(connection)}
        connection.execute(SQL["remove_old_plans"], facts | {"lifetime": PLAN_LIFETIME})
        connection.execute(SQL["store_plan"], facts)


# --- the run ---------------------------------------------------------------------------------------------------------


async def run_plan(
    parts: DecidingParts,
    digest: str,
    sender: Sender,
    *,
    seconds: float = inf,
    on_progress: Progress[str] = no_progress,
) -> BulkReport:
    """Do what a list says, as far as the seconds go; a further run with the same digest does the rest.

    Raises PlanNotFound; LettersChanged, and then nothing was done; RequestInvalid for another reason than that of the
    first run; what the writer raises, and then a further run does the rest.
    """
    until = time.monotonic() + seconds
    plan = await begin_run(parts, digest, sender)
    before = await asyncio.to_thread(done_before, parts, plan)
    results = {letter.payment_id: _result_of(letter, letter.payment_id in before) for letter in plan.letters}
    waiting = [letter for letter in plan.letters if results[letter.payment_id] is None]
    questions = ManyQuestions(parts.questions, parts.settings)
    at_once = LETTERS_AT_ONCE if plan.decision.action == "requeue" else AT_A_TIME
    for first in range(0, len(waiting), at_once):
        if time.monotonic() >= until and first:
            break
        on_progress("letters", first, len(waiting))
        part = waiting[first : first + at_once]
        commands = await _commands(parts, plan, part, sender, questions)
        answers = await parts.writer.execute_all(commands)
        for letter, answer in zip(part, answers, strict=True):
            results[letter.payment_id] = _told(letter, answer)
    reached = [result for result in results.values() if result is not None]
    return BulkReport(plan=plan, results=reached, remaining=len(results) - len(reached))


async def begin_run(parts: DecidingParts, digest: str, sender: Sender) -> BulkPlan:
    """Read a list, and begin its first run if it is still as the ledger is; a later run needs the same reason."""
    plan, begun = await asyncio.to_thread(read_plan, parts, digest)
    if not begun:
        try:
            await ensure_unchanged(parts, plan)
        except LettersChanged:
            # Another run of the same list may have begun since, and then it is the one that has changed them.
            if not (await asyncio.to_thread(read_plan, parts, digest))[1]:
                raise
    why = await asyncio.to_thread(_begin, parts, digest, sender)
    if why != sender.why:
        raise RequestInvalid.at("why", f"the first run under this digest had another reason: {why}")
    return plan


async def ensure_unchanged(parts: DecidingParts, plan: BulkPlan) -> None:
    """Make a list again, with the gateway's answers that it has. Raises LettersChanged when it comes out otherwise."""
    letters, _ = await asyncio.to_thread(_letters, parts, plan.chosen, len(plan.letters))
    said = {letter.payment_id: letter.said for letter in plan.letters}
    again = await asyncio.to_thread(_planned, parts, plan.decision, plan.chosen, letters, said)
    if again.digest != plan.digest:
        raise LettersChanged(digest=plan.digest)


def read_plan(parts: DecidingParts, digest: str) -> tuple[BulkPlan, bool]:
    """Read a list by its digest, and whether a run of it has begun. Raises PlanNotFound."""
    with closing(_connect(parts)) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        row = connection.execute(SQL["read_plan"], {"digest": digest}).fetchone()
    if row is None:
        raise PlanNotFound(digest=digest)
    return decode_plan(row[0]), row[1]


def _begin(parts: DecidingParts, digest: str, sender: Sender) -> str:
    with closing(_connect(parts)) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        facts = {"digest": digest, "by": sender.by, "why": sender.why, "now": clock_of(connection)}
        row = connection.execute(SQL["begin"], facts).fetchone()
    if row is None:
        raise PlanNotFound(digest=digest)
    why: str = row[0]
    return why


def done_before(parts: DecidingParts, plan: BulkPlan) -> set[int]:
    """Return the payments of a list whose decision was carried out: their idempotency keys are taken."""
    key = _key(plan)
    keys = [(decision_scope(letter.payment_id), key) for letter in plan.going]
    with closing(_connect(parts)) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        return {row.subject_id for row in keys_taken(ask_keys(connection, keys)).values()} if keys else set()


async def _commands(
    parts: DecidingParts,
    plan: BulkPlan,
    letters: Sequence[PlannedLetter],
    sender: Sender,
    questions: ManyQuestions,
) -> list[Command[PaymentStanding]]:
    """Give the commands of a run; the gateway is asked again, because its answer in the list may be old by now."""
    key = _key(plan)
    said: Sequence[GatewaySaid | None] = [None] * len(letters)
    if plan.decision.action == "resolve":
        await questions.look()
        said = await asyncio.gather(*[questions.ask(each.payment_id, each.gateway_key or "") for each in letters])
    commands: list[Command[PaymentStanding]] = []
    for letter, answer in zip(letters, said, strict=True):
        # Only a letter that the list shows as forced is forced.
        decision = replace(plan.decision, force=letter.forced)
        command = _command(parts, decision, letter.payment_id, sender, said=answer)
        commands.append(replace(command, idempotency_key=key, seen_version=letter.version))
    return commands


def _key(plan: BulkPlan) -> str:
    """Return the idempotency key of each letter's decision. A decision's key belongs to its payment."""
    return f"bulk-{plan.digest}"


def _result_of(letter: PlannedLetter, done_before: bool) -> LetterResult | None:  # noqa: FBT001 - a private leaf
    """Return the result of a letter that needs no command; None if it needs one."""
    if letter.refused is not None:
        return LetterResult(payment_id=letter.payment_id, refused=letter.refused)
    return LetterResult(payment_id=letter.payment_id, becomes=letter.becomes, before=True) if done_before else None


def _told(letter: PlannedLetter, answer: PaymentStanding | LedgerError) -> LetterResult:
    match answer:
        case PaymentStanding(state=state, replayed=replayed):
            return LetterResult(payment_id=letter.payment_id, becomes=state, before=replayed)
        case Refusal():
            return LetterResult(payment_id=letter.payment_id, refused=answer.code)
        case _:
            raise answer


def _connect(parts: DecidingParts) -> psycopg.Connection[Any]:
    return parts.partition.database.connect(application="payment-ledger bulk", options=WARNED)
