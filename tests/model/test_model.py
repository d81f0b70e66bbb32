"""The model itself: it shares no code with the ledger, and its figures are those computed by hand."""

import ast
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.model.ledger import Model, Refused

TESTS: Final = Path(__file__).parent
OF_THE_MODEL: Final = [TESTS / "ledger.py", TESTS / "reports.py", TESTS / "state.py", TESTS / "process.py"]
TWO_PERCENT: Final = 20_000


def foreign(source: str) -> set[str]:
    """The imports of a file that are neither from Python's standard library nor from the model."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                names.add("." * node.level + (node.module or ""))
            case _:
                pass
    own = {f"tests.model.{path.stem}" for path in OF_THE_MODEL}
    return {name for name in names if name not in own and name.split(".")[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize("path", OF_THE_MODEL, ids=lambda path: path.name)
def test_the_model_shares_no_code_with_the_ledger(path: Path) -> None:
    """It imports only the standard library and itself, and uses no dynamic import."""
    source = path.read_text("utf-8")

    assert foreign(source) == set()
    assert "importlib" not in source
    assert "__import__" not in source


@pytest.mark.parametrize(
    "source",
    ["import ledger", "from ledger.money import fee_minor", "from tests.databases import x", "from . import x"],
)
def test_what_the_model_may_not_import_is_found(source: str) -> None:
    """The checker finds imports of the ledger, of other tests, and relative imports."""
    assert foreign(source)


def with_user(opening: str = "1000", currency: str = "USD") -> Model:
    model = Model()
    model.open(Decimal(opening), currency)
    return model


def asked(model: Model, kind: str, amount: str, **facts: Any) -> int:
    answer = model.request(kind, 1, Decimal(amount), rate_ppm=TWO_PERCENT, **facts)
    payment_id: int = answer["payment_id"]
    return payment_id


def tell(model: Model, payment_id: int, told: str, then: str, **facts: Any) -> None:
    payment = model.payments[payment_id]
    usual: dict[str, Any] = {
        "seen_version": model.version(f"payment-{payment_id}"),
        "series": payment.series,
        "attempt": payment.attempts + 1,
    }
    model.outcome(payment_id, **{**usual, "told": told, "then": then, **facts})


def test_a_deposit_of_200_at_2_percent_credits_196() -> None:
    """The gateway pays in 200.00, the fee is 4.00, and the user gets 196.00."""
    model = with_user()

    payment_id = asked(model, "deposit", "200")
    tell(model, payment_id, "approved", "succeed")

    entry = model.journal[-1]
    assert (payment_id, model.balance(1), model.status(1)["status"]) == (1, 119_600, "success")
    assert (entry.customer, entry.gateway_clearing, entry.fee_revenue) == (-19_600, 20_000, -400)


def test_a_withdrawal_of_200_at_2_percent_holds_and_then_debits_204() -> None:
    """The hold is taken first, and the balance changes with the success."""
    model = with_user()

    payment_id = asked(model, "withdraw", "200")
    before = (model.balance(1), model.held(1), model.available(1))
    tell(model, payment_id, "approved", "succeed")

    assert before == (100_000, 20_400, 79_600)
    assert (model.balance(1), model.held(1), model.available(1)) == (79_600, 0, 79_600)


def test_too_little_money_is_a_payment_that_failed_at_once() -> None:
    """The same key gives the same answer again, even if there is enough money by then."""
    model = with_user("10")

    first = model.request("withdraw", 1, Decimal(10), rate_ppm=TWO_PERCENT, key="k")
    tell(model, asked(model, "deposit", "100"), "approved", "succeed")
    again = model.request("withdraw", 1, Decimal("10.00"), rate_ppm=TWO_PERCENT, key="k")

    assert (first["refused"], again) == (True, {**first, "replayed": True})
    assert model.status(1) == {
        "status": "failed",
        "attempts": 0,
        "last_error": "insufficient_funds",
        "next_call_known": False,
    }
    assert model.letters() == {}


@pytest.mark.parametrize(
    ("amount", "fee"), [("0.24", 0), ("0.25", 1), ("0.74", 1), ("0.75", 2), ("12.25", 25), ("200", 400)]
)
def test_a_fee_is_rounded_half_up(amount: str, fee: int) -> None:
    """Two percent, in cents."""
    model = with_user()

    assert model.payments[asked(model, "deposit", amount)].fee == fee


def test_what_may_have_moved_is_not_failed_before_the_gateway_was_asked() -> None:
    """A decline fails no payment if an earlier attempt is unknown; the gateway is asked first."""
    model = with_user()
    payment_id = asked(model, "withdraw", "50")
    tell(model, payment_id, "unknown", "retry", error="timeout")

    with pytest.raises(Refused, match="outcome_impossible"):
        tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    tell(model, payment_id, "declined", "inquire", error="gateway_error_402")
    model.inquiry(payment_id, seen_version=3, series=1, answer="declined", then="fail")

    assert (model.held(1), model.letters()[payment_id]["error"]) == (0, "gateway_error_402")


def test_success_after_a_failure_has_to_be_reconciled() -> None:
    """The dead letter is contradicted, cannot be requeued, and posts only an amount that the account covers."""
    model = with_user("100")
    payment_id = asked(model, "withdraw", "90")
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    tell(model, payment_id, "approved", "succeed")
    asked(model, "withdraw", "50")

    with pytest.raises(Refused, match="not_requeueable"):
        model.requeue(payment_id)
    with pytest.raises(Refused, match="insufficient_funds"):
        model.resolve(payment_id, "success")

    assert model.letters()[payment_id]["state"] == "contradicted"
    model.resolve(payment_id, "failed")
    assert payment_id not in model.letters()


def test_each_key_that_moved_money_is_dealt_with_by_itself() -> None:
    """The first is settled as the payment's end, the second booked against suspense; clearing then has both."""
    model = with_user()
    payment_id = asked(model, "deposit", "100")
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    model.requeue(payment_id, ask_first=False)
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    for series in (1, 2, 1):
        tell(model, payment_id, "approved", "succeed", series=series, attempt=1)

    with pytest.raises(Refused, match="contradiction_not_named"):
        model.resolve(payment_id, "success")
    model.resolve(payment_id, "success", gateway_key="payment-1-2")
    after_the_first = model.letters()[payment_id]["state"]
    model.adjust(payment_id, "suspense")

    assert (after_the_first, model.letters(), model.balance(1)) == ("contradicted", {}, 109_800)
    assert sum(entry.gateway_clearing for entry in model.journal) == 20_000
    assert sum(entry.suspense for entry in model.journal) == -10_000
    assert model.counters["dlq_written_total"] == 4


def test_a_deposit_has_to_find_room_beside_those_under_way() -> None:
    """The limit is 2^53 - 1 cents. Pending deposits count, and failed ones do not."""
    model = with_user("10000000000000")
    rest = Decimal(2**53 - 1 - 9 * 10**15).scaleb(-2)
    for _ in range(8):
        model.request("deposit", 1, Decimal(10**13), rate_ppm=0)

    model.request("deposit", 1, rest, rate_ppm=0)
    with pytest.raises(Refused, match="balance_limit_exceeded"):
        model.request("deposit", 1, Decimal("0.01"), rate_ppm=0)
    tell(model, 1, "declined", "fail", error="gateway_error_402")
    model.request("deposit", 1, Decimal(10**13), rate_ppm=0)

    assert model.room(1) == 0


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("1.505", "USD", "amount_invalid"),
        ("0.5", "JPY", "amount_invalid"),
        ("-1", "USD", "amount_invalid"),
        ("-0", "USD", "amount_invalid"),
        ("10000000000000.01", "USD", "amount_invalid"),
        ("1", "usd", "currency_unknown"),
    ],
)
def test_what_is_no_amount_of_its_currency_is_refused(amount: str, currency: str, code: str) -> None:
    """Amounts are refused that are finer than the currency, below zero, or above the maximum."""
    with pytest.raises(Refused, match=code):
        Model().open(Decimal(amount), currency)


def not_found(model: Model) -> int:
    """A payment that failed because the gateway did not know it after a time-out."""
    payment_id = asked(model, "withdraw", "100")
    tell(model, payment_id, "unknown", "inquire", error="timeout")
    inquire(model, payment_id, "not_found", "fail_asking_late")
    return payment_id


def inquire(model: Model, payment_id: int, answer: str, then: str, **facts: Any) -> None:
    payment, version = model.payments[payment_id], model.version(f"payment-{payment_id}")
    model.inquiry(payment_id, seen_version=version, series=payment.series, answer=answer, then=then, **facts)


def test_a_requeued_payment_keeps_its_key_unless_the_gateway_declined() -> None:
    """Under the old key a late payout is found; a second key would allow a second one."""
    model = with_user()
    doubted, declined = not_found(model), asked(model, "withdraw", "50")
    tell(model, declined, "declined", "fail", error="gateway_error_402")

    for payment_id in (doubted, declined):
        model.requeue(payment_id)
    inquire(model, doubted, "approved", "succeed")
    inquire(model, declined, "declined", "retry")

    assert model.payments[doubted].gateway_keys == ["payment-1", "payment-1"]
    assert model.payments[declined].gateway_keys == ["payment-1025", "payment-1025-2"]
    assert (model.status(doubted)["status"], model.payments[declined].next_call) == ("success", "pay")


def test_money_that_moves_after_not_found_becomes_a_letter() -> None:
    """The late inquiry tells of it; the customer's money stays free until an operator decides."""
    model = with_user()
    payment_id = not_found(model)

    inquire(model, payment_id, "not_found", "inquire", late=1)
    inquire(model, payment_id, "approved", "succeed", late=2)

    assert (model.letters()[payment_id]["state"], model.available(1)) == ("contradicted", 100_000)
    assert model.payments[payment_id].next_call is None


def test_a_decision_under_the_same_key_is_taken_once() -> None:
    """The second answer is the first one; another decision about the payment may not have its key."""
    model = with_user()
    payment_id = asked(model, "deposit", "100")
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")

    first, again = (model.requeue(payment_id, ask_first=False, key="k") for _ in range(2))

    assert again == {**first, "replayed": True}
    assert model.payments[payment_id].series == 2
    with pytest.raises(Refused, match="idempotency_key_reused"):
        model.resolve(payment_id, "failed", key="k")


def test_a_recovery_leaves_numbers_out_and_counts_open_calls_as_begun() -> None:
    """Users leave out whole rounds of 1024. A payment that is not about to be called has no call to count."""
    model = with_user()
    called, declined = asked(model, "deposit", "100"), asked(model, "deposit", "100")
    tell(model, declined, "declined", "fail", error="gateway_error_402")

    model.recover(5_000)

    assert (model.next_user_id, model.next_payment_id(1)) == (2 + 5 * 1024, 1024 * 5_002 + 1)
    assert [model.payments[each].queued_attempts for each in (called, declined)] == [1, 1]
    tell(model, called, "unknown", "retry", error="lease_expired")
    assert model.payments[called].queued_attempts == 1
