"""An operator's decision about one letter: ask the gateway, and carry the decision out, or store it for a second key.

The gateway is asked between the read of the payment and the command, while nothing of the database is held. The command
names the version that was read, so an answer about a payment that has changed since does not count: the payment is read
and asked about again.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from api.decisions.approvals import Approval, ask_approval
from api.decisions.gateway_questions import GatewaySaid, late_inquiry_seconds
from api.decisions.parts import DecidingParts
from api.errors import NotOverPartitions
from ledger.application.application import Placed
from ledger.domain.commands import AdjustPayment, OperatorDecision, PaymentStanding, ResolvePayment
from ledger.domain.decide import refuse_changed
from ledger.domain.decision import Decision, goes_against, key_in_question
from ledger.domain.events import PaymentAdjusted, PaymentEvent, PaymentRequeued, PaymentResolved
from ledger.domain.evolve import evolve_payment
from ledger.domain.payment import Payment, resolve
from ledger.errors import Refusal, StaleCommand
from ledger.writer.rehearsal import rehearse

TRIES_MAX: Final = 3
"""How often a decision is tried when the payment changes while the gateway is asked."""


class Decided(Struct, frozen=True, kw_only=True):
    """The payment's state after a decision; for a resolution also what the gateway had said, and whether it was forced.

    `said` is None for another decision, and for one about a payment that nobody need ask about.
    """

    standing: PaymentStanding
    said: GatewaySaid | None = None
    forced: bool = False


def needs_approval(parts: DecidingParts, command: OperatorDecision) -> bool:
    """Tell whether a second key has to approve a decision: each booking, and each that may go against the gateway."""
    forces = isinstance(command, AdjustPayment) or (isinstance(command, ResolvePayment) and command.force)
    return parts.settings.operate_four_eyes and forces and command.approved_by is None


async def decide(parts: DecidingParts, command: OperatorDecision) -> Decided | Approval:
    """Carry out a decision, or store it until a second key approves it.

    Raises the command's refusals; what cannot be done now is refused before it is stored, too. Raises NotOverPartitions
    where a second key would have to approve it and the ledger has several partitions.
    """
    if needs_approval(parts, command):
        if parts.partition.slots.count > 1:  # the keys that may approve are in the first partition
            raise NotOverPartitions
        assert isinstance(command, AdjustPayment | ResolvePayment), command
        return await asyncio.to_thread(_ask, parts, command)
    if isinstance(command, ResolvePayment):
        return await _resolve(parts, command)
    return Decided(standing=await parts.writer.execute(command))


def _ask(parts: DecidingParts, command: ResolvePayment | AdjustPayment) -> Approval:
    """Store a decision that is possible now, about the payment as it is now.

    It is tried under the sender's own idempotency key, so a booking that needs a key is refused without one.
    """
    (would_be,) = rehearse(parts.partition.database, [command], slots=parts.partition.slots)
    if isinstance(would_be.result, Refusal):
        raise would_be.result
    assert would_be.payment is not None, "a decision was made about it"
    return ask_approval(
        parts.partition.database,
        replace(command, seen_version=would_be.payment.version),
        gateway_key=_key_about(command, would_be.payment, would_be.result),
    )


def _key_about(command: OperatorDecision, payment: Payment, decision: Decision) -> str | None:
    """Return the gateway key whose money a decision is about; None for other money.

    It follows from the payment's version, so the decision at that version is about the same one.
    """
    for event in (each.event for each in decision.planned):
        if isinstance(event, PaymentAdjusted):
            return event.gateway_key or None
        if isinstance(event, PaymentResolved) and isinstance(command, ResolvePayment):
            return key_in_question(payment, command.gateway_key)
    return None


async def _resolve(parts: DecidingParts, command: ResolvePayment) -> Decided:
    """Resolve a letter after the gateway was asked about it."""
    if command.seen_version is not None:
        return await _resolve_once(parts, command)
    for tries_left in reversed(range(TRIES_MAX)):
        try:
            return await _resolve_once(parts, command)
        except StaleCommand:
            if not tries_left:
                raise
    raise AssertionError("the last try returns or raises")


async def _resolve_once(parts: DecidingParts, command: ResolvePayment) -> Decided:
    history = await parts.history.payment(command.payment_id)
    if event_under(command, history) is None:
        payment = folded(history)
        told = await _told(parts, command, payment)
        standing = await parts.writer.execute(told)
        if not standing.replayed:
            forced = goes_against(payment, told.outcome, told.gateway_answer)
            return Decided(standing=standing, said=GatewaySaid(told.gateway_answer, told.gateway_error), forced=forced)
        history = await parts.history.payment(command.payment_id)
    else:
        standing = await parts.writer.execute(command)
    event = event_under(command, history)
    assert isinstance(event, PaymentResolved), "the decision under the key stands in the payment's history"
    return Decided(standing=standing, said=GatewaySaid(event.gateway_answer, event.gateway_error), forced=event.forced)


async def _told(parts: DecidingParts, command: ResolvePayment, payment: Payment) -> ResolvePayment:
    """Ask the gateway about the key in question, unless the payment's state or its version forbids the decision."""
    resolve(payment, outcome=command.outcome, why=command.why, gateway_key=command.gateway_key)
    refuse_changed(payment, command)
    said = await parts.questions.ask(payment.payment_id, key_in_question(payment, command.gateway_key))
    return replace(
        command,
        gateway_answer=said.answer,
        gateway_error=said.error,
        seen_version=payment.version,
        inquire_after_seconds=late_inquiry_seconds(parts.settings),
    )


def event_under(command: OperatorDecision, history: Sequence[Placed[PaymentEvent]]) -> PaymentEvent | None:
    """Return the event of an earlier decision under the command's idempotency key, if there is one."""
    for _, recorded in history:
        event = recorded.data
        if not isinstance(event, PaymentRequeued | PaymentResolved | PaymentAdjusted) or event.idempotency is None:
            continue
        if event.idempotency.key == command.idempotency_key:
            return event
    return None


def folded(history: Sequence[Placed[PaymentEvent]]) -> Payment:
    """Fold a payment from its events."""
    payment: Payment | None = None
    for _, recorded in history:
        payment = evolve_payment(payment, recorded)
    assert payment is not None, "a history has events"
    return payment
