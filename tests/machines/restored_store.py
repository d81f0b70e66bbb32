"""Money that the gateway moved after a copy was made. A ledger restored from the copy has forgotten it, and is told.

The ledger learns of such money as it learns of any: a call that was counted as begun is lost, and an inquiry finds the
money; or the success of a series comes after its end.
"""

from collections.abc import Callable

import msgspec

from ledger.domain.commands import AnyCommand, InquireAfter, RecordGatewayOutcome
from tests.machines.commands import inquiry, report_on, success_of
from tests.machines.operator_commands import Choose
from tests.model.ledger import Model
from tests.model.state import Payment


def remembered(restored: Model, forgotten: Model) -> set[tuple[int, str]]:
    """The payments of the restored ledger, and the keys under which the gateway has moved their money since the copy.

    A key that no call of the restored ledger has used yet is left out.
    """
    return {
        (payment.payment_id, key)
        for payment in restored.payments.values()
        for key in forgotten.payments[payment.payment_id].moved - payment.moved
        if key == payment.gateway_key or key in payment.gateway_keys[:-1]
    }


def telling(payment: Payment, key: str) -> list[Callable[[Choose, Model], AnyCommand]]:
    """The reports by which the ledger learns of money that has moved under a key."""
    if key in payment.moved:
        return []

    def answer(_: Choose, model: Model) -> AnyCommand:
        if payment.next_call == "inquire_late" and key == payment.gateway_key:
            late = inquiry(model, payment, "approved", "succeed")
            return msgspec.structs.replace(late, late=True, inquiry=payment.late_answers + 1)
        if payment.under_way and key == payment.gateway_key:
            return inquiry(model, payment, "approved", "succeed")
        return success_of(model, payment, series=payment.gateway_keys.index(key) + 1)

    may_be_lost = payment.next_call == "pay" and key == payment.gateway_key
    return [_lost_call(payment), answer] if may_be_lost else [answer]


def _lost_call(payment: Payment) -> Callable[[Choose, Model], AnyCommand]:
    def lost(_: Choose, model: Model) -> AnyCommand:
        usual = report_on(model, payment, {}) | {"attempt": payment.attempts + 1}
        return RecordGatewayOutcome(**usual, outcome="unknown", error="lease_expired", then=InquireAfter(5.0))

    return lost
