"""An outcome against a clear answer of the gateway needs force, and a decision may be bound to a version."""

from typing import Any

import pytest

from ledger.domain.commands import Succeed
from ledger.domain.events import InquiryName, PaymentResolved, Resolution
from ledger.domain.invariants import wrong_with_step
from ledger.errors import GatewayDisagrees, StaleCommand
from tests.support.ledgers.paper import PaperWriter, adjust, deposit, key, requeue, resolve
from tests.support.ledgers.paper_payments import contradicted, declined, in_doubt


def contradicted_after_success(ledger: PaperWriter, command: Any) -> int:
    """A payment that succeeded under a second key, after money had moved under the first."""
    payment_id = declined(ledger, command)
    ledger.requeued(payment_id, ask_first=False)
    ledger.told(payment_id, "approved", Succeed())
    ledger.told(payment_id, "approved", Succeed(), series=1, attempt=1)
    return payment_id


@pytest.mark.parametrize(
    ("story", "outcome", "answer", "against"),
    [
        (in_doubt, "success", "approved", False),
        (in_doubt, "success", "declined", True),
        (in_doubt, "success", "not_found", True),
        (in_doubt, "success", "no_clear_answer", False),
        (in_doubt, "success", None, False),
        (in_doubt, "failed", "approved", True),
        (in_doubt, "failed", "declined", False),
        (in_doubt, "failed", "not_found", False),
        (in_doubt, "failed", "no_clear_answer", False),
        (declined, "failed", "approved", True),
        (declined, "failed", "not_found", False),
        (contradicted, "success", "approved", False),
        (contradicted, "success", "not_found", True),
        (contradicted, "failed", "approved", True),
        (contradicted, "failed", "declined", False),
        (contradicted_after_success, "success", "approved", True),
        (contradicted_after_success, "success", "not_found", False),
    ],
)
def test_only_a_forced_decision_goes_against_a_clear_answer(
    ledger: PaperWriter, story: Any, outcome: Resolution, answer: InquiryName | None, *, against: bool
) -> None:
    """A success books the money of a payment; of one that has succeeded before, it says that other money came back."""
    payment_id = story(ledger, deposit("2.00"))
    before = ledger.payment(payment_id)

    if against:
        with pytest.raises(GatewayDisagrees) as refused:
            ledger.one(resolve(payment_id, outcome, gateway_answer=answer))
        assert refused.value.facts == {"payment_id": payment_id, "gateway_key": key(1, 1), "answer": answer}
        assert ledger.payment(payment_id) == before
    ledger.one(resolve(payment_id, outcome, gateway_answer=answer, force=True))

    (resolved,) = [each.data for each in ledger.store.events() if isinstance(each.data, PaymentResolved)]
    assert (resolved.gateway_answer, resolved.forced) == (answer, against)


@pytest.mark.parametrize("forced", [True, False])
def test_an_event_says_whether_it_was_forced_as_the_answer_says(ledger: PaperWriter, *, forced: bool) -> None:
    """The audit computes it again."""
    payment_id = in_doubt(ledger, deposit("2.00"))
    before = ledger.payment(payment_id)
    event = PaymentResolved(payment_id=payment_id, outcome="failed", why="w", gateway_answer="approved", forced=forced)

    assert (wrong_with_step(before, event) is None) == forced


@pytest.mark.parametrize("decision", [requeue, resolve, adjust])
def test_a_decision_about_another_version_is_refused(ledger: PaperWriter, decision: Any) -> None:
    """It names the version that its sender saw. The right version is as good as none."""
    payment_id = declined(ledger, deposit("2.00"))
    words = ("failed",) if decision is resolve else ()
    version = ledger.payment(payment_id).version

    with pytest.raises(StaleCommand) as refused:
        ledger.one(decision(payment_id, *words, seen_version=version - 1))
    ledger.one(decision(payment_id, *words, seen_version=version))

    assert refused.value.facts == {"payment_id": payment_id, "seen_version": version - 1, "version": version}


def test_who_approved_stands_in_every_event_of_the_decision(ledger: PaperWriter) -> None:
    """Beside who asked for it."""
    payment_id = in_doubt(ledger, deposit("2.00"))

    ledger.one(resolve(payment_id, "success", by="key:1", operator="Ada", approved_by="key:2"))

    of_payment, of_account = ledger.store.events(), ledger.store.events("account-1")
    assert {each.sender for each in (*of_payment[-2:], of_account[-1])} == {("key:1", "Ada", "key:2")}
