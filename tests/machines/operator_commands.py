"""Random decisions of operators for the state machine over the ledger."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, Protocol, TypeVar, get_args

from ledger.domain.commands import AdjustPayment, RequeuePayment, ResolvePayment
from ledger.domain.events import InquiryName, Resolution
from tests.model.ledger import Model
from tests.model.state import Payment

ChosenT = TypeVar("ChosenT")

KEYS: Final = [None, None, "a", "b"]
"""The idempotency keys of decisions. There are few, so that one payment's decisions often share one."""


class Choose(Protocol):
    """Chooses one of several, as `random.Random.choice` does."""

    def __call__(self, options: Sequence[ChosenT], /) -> ChosenT:
        """Choose one."""


def requeuing(choose: Choose, _: Model, payment: Payment) -> RequeuePayment:
    """An operator requeues a payment."""
    return RequeuePayment(
        command_id="requeue",
        payment_id=payment.payment_id,
        why="the gateway is well again",
        ask_first=choose([True, True, False]),
        idempotency_key=choose(KEYS),
    )


def resolving(choose: Choose, _: Model, payment: Payment) -> ResolvePayment:
    """An operator resolves a payment."""
    outcome: Resolution = choose(["success", "failed"])
    return ResolvePayment(
        command_id="resolve",
        payment_id=payment.payment_id,
        outcome=outcome,
        why="the bank says so",
        gateway_key=_contradiction(choose, payment),
        gateway_answer=choose([None, None, *get_args(InquiryName)]),
        force=choose([False, False, True]),
        inquire_after_seconds=choose([None, 3600.0]),
        idempotency_key=choose(KEYS),
    )


def adjusting(choose: Choose, _: Model, payment: Payment) -> AdjustPayment:
    """An operator books what the gateway did beside a payment's end."""
    return AdjustPayment(
        command_id="adjust",
        payment_id=payment.payment_id,
        why="the bank's statement has it",
        against=choose(["account", "suspense"]),
        direction=choose([None, None, "in", "out"]),
        amount=choose([None, None, Decimal(1), Decimal("0.00001"), Decimal(0)]),
        gateway_key=_contradiction(choose, payment),
        idempotency_key=choose(KEYS),
    )


def _contradiction(choose: Choose, payment: Payment) -> str | None:
    """The gateway key that an operator names: mostly one that is open, or none."""
    return choose([None, *payment.contradictions, *payment.contradictions, payment.gateway_key])
