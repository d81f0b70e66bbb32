"""The model itself: that it stands on nothing of ours, and that its figures are those worked out by hand."""

import ast
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest

from tests.model import Model, Refused

TESTS: Final = Path(__file__).parent
OF_THE_MODEL: Final = [TESTS / "model.py", TESTS / "model_books.py", TESTS / "model_process.py"]
TWO_PERCENT: Final = 20_000


def foreign(source: str) -> set[str]:
    """What a file imports that is neither Python's own nor of the model."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom():
                names.add("." * node.level + (node.module or ""))
            case _:
                pass
    own = {f"tests.{path.stem}" for path in OF_THE_MODEL}
    return {name for name in names if name not in own and name.split(".")[0] not in sys.stdlib_module_names}


@pytest.mark.parametrize("path", OF_THE_MODEL, ids=lambda path: path.name)
def test_the_model_shares_no_code_with_the_ledger(path: Path) -> None:
    """It imports Python's own modules and itself, and nothing by a name that is put together."""
    source = path.read_text("utf-8")

    assert foreign(source) == set()
    assert "importlib" not in source
    assert "__import__" not in source


@pytest.mark.parametrize(
    "source",
    ["import ledger", "from ledger.money import fee_minor", "from tests.databases import x", "from . import x"],
)
def test_what_the_model_may_not_import_is_found(source: str) -> None:
    """The ledger, the other tests, and anything relative."""
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
    """200.00 come in at the gateway, 4.00 are the fee, 196.00 are the user's."""
    model = with_user()

    payment_id = asked(model, "deposit", "200")
    tell(model, payment_id, "approved", "succeed")

    entry = model.journal[-1]
    assert (payment_id, model.balance(1), model.status(1)["status"]) == (1, 119_600, "success")
    assert (entry.customer, entry.gateway_clearing, entry.fee_revenue) == (-19_600, 20_000, -400)


def test_a_withdrawal_of_200_at_2_percent_holds_and_then_debits_204() -> None:
    """The hold comes first, and the balance changes with the success."""
    model = with_user()

    payment_id = asked(model, "withdraw", "200")
    before = (model.balance(1), model.held(1), model.available(1))
    tell(model, payment_id, "approved", "succeed")

    assert before == (100_000, 20_400, 79_600)
    assert (model.balance(1), model.held(1), model.available(1)) == (79_600, 0, 79_600)


def test_too_little_money_is_a_payment_that_failed_at_once() -> None:
    """And the same answer again under its key, also when there would be money now."""
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
    """An attempt that nobody knows the end of, then a refusal of the next one."""
    model = with_user()
    payment_id = asked(model, "withdraw", "50")
    tell(model, payment_id, "unknown", "retry", error="timeout")

    with pytest.raises(Refused, match="outcome_impossible"):
        tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    tell(model, payment_id, "declined", "inquire", error="gateway_error_402")
    model.inquiry(payment_id, seen_version=3, series=1, answer="declined", then="fail")

    assert (model.held(1), model.letters()[payment_id]["error"]) == (0, "gateway_error_402")


def test_success_after_a_failure_has_to_be_reconciled() -> None:
    """The letter is of another kind, cannot be sent again, and posts only what the account covers."""
    model = with_user("100")
    payment_id = asked(model, "withdraw", "90")
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    tell(model, payment_id, "approved", "succeed")
    asked(model, "withdraw", "50")

    with pytest.raises(Refused, match="not_requeueable"):
        model.requeue(payment_id)
    with pytest.raises(Refused, match="insufficient_funds"):
        model.resolve(payment_id, "success")

    assert model.letters()[payment_id]["state"] == "reconcile"
    model.resolve(payment_id, "failed")
    assert payment_id not in model.letters()


def test_money_moved_under_two_keys_is_reconciled_twice() -> None:
    """One posting stands for one of them, and the other stays to be looked at."""
    model = with_user()
    payment_id = asked(model, "deposit", "100")
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    model.requeue(payment_id)
    tell(model, payment_id, "declined", "fail", error="gateway_error_402")
    for series in (1, 2, 1):
        tell(model, payment_id, "approved", "succeed", series=series, attempt=1)

    model.resolve(payment_id, "success")
    after_the_first = model.letters()[payment_id]["state"]
    model.resolve(payment_id, "success")

    assert (after_the_first, model.letters(), model.balance(1)) == ("reconcile", {}, 109_800)
    assert model.counters["dlq_written_total"] == 4


def test_a_deposit_has_to_find_room_beside_those_under_way() -> None:
    """2^53 - 1 cents are the most; what is pending counts, and what has failed counts no more."""
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
    """Finer than its coins, below zero, or more than a single amount may be."""
    with pytest.raises(Refused, match=code):
        Model().open(Decimal(amount), currency)
