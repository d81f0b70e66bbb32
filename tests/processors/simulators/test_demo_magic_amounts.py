"""Each magic amount forces one behaviour of the demo gateway."""

from decimal import Decimal

import httpx
import pytest

from processors.gateways.client import Gateway
from processors.gateways.outcomes import (
    Approved,
    Declined,
    GatewayAnswer,
    InquiryAnswer,
    NoClearAnswer,
    NotAccepted,
    NotFound,
    Unknown,
)
from processors.simulators.demo.scenario import MAGIC_AMOUNTS
from tests.support.gateways.demo_client import call_of, effects_of, payment_id

pytestmark = pytest.mark.anyio


async def all_attempts(gateway: Gateway, payment: int, amount: Decimal, key: str) -> list[GatewayAnswer]:
    """Call up to three times, until an answer is final."""
    answers = []
    for _ in range(3):
        answers.append(await gateway.pay(call_of(payment, amount, key)))
        if isinstance(answers[-1].outcome, Approved | Declined):
            break
    return answers


def end_of(answers: list[GatewayAnswer], inquiry: InquiryAnswer) -> str:
    """Return the end of a payment, by the rules for attempts and inquiries."""
    match answers[-1].outcome:
        case Approved():
            return "success"
        case Declined():
            return "failed"
        case NotAccepted() if all(isinstance(answer.outcome, NotAccepted) for answer in answers):
            return "failed"
        case _:
            return end_by(inquiry)


def end_by(inquiry: InquiryAnswer) -> str:
    """Return the end of a payment whose attempts left it unknown."""
    match inquiry.outcome:
        case Approved():
            return "success"
        case Declined() | NotFound():
            return "failed"
        case NoClearAnswer():
            return "in doubt"


MAGIC_ANSWERS: dict[str, list[object]] = {
    "9000.01": [Approved],
    "9000.02": [Declined("declined")],
    "9000.03": [Declined("gateway_error_402")],
    "9000.04": [Declined("declined")],
    "9000.10": [Unknown("gateway_error_502"), Approved],
    "9000.11": [Unknown("gateway_error_502")] * 3,
    "9000.12": [Unknown("gateway_error_502")] * 3,
    "9000.20": [Unknown("timeout"), Approved],
    "9000.21": [Unknown("timeout"), Approved],
    "9000.22": [Unknown("timeout")] * 3,
    "9000.23": [Unknown("timeout")] * 3,
    "9000.30": [Unknown("answer_unreadable"), Approved],
    "9000.31": [Unknown("timeout"), Approved],
    "9000.32": [Unknown("connection_lost"), Approved],
    "9000.40": [NotAccepted("gateway_error_429", 2.0), Approved],
    "9000.41": [NotAccepted("gateway_error_429", 2.0)] * 3,
    "9000.50": [Unknown("gateway_error_502")] * 3,
    "9000.51": [Unknown("gateway_error_502")] * 3,
}
MOVED = {"01", "10", "12", "20", "21", "22", "30", "31", "32", "40", "51"}


@pytest.mark.parametrize("amount", MAGIC_AMOUNTS, ids=str)
async def test_each_magic_amount_does_what_its_row_says(
    gateway: Gateway, http: httpx.AsyncClient, amount: Decimal
) -> None:
    """Attempts, inquiry, end, and whether the money moved are those of the table."""
    payment = payment_id()
    key = f"payment-{payment}"

    answers = await all_attempts(gateway, payment, amount, key)
    inquiry = await gateway.inquire(payment, key)
    effects = [effect for effect in await effects_of(str(http.base_url)) if effect["payment_id"] == payment]

    told = [Approved if isinstance(answer.outcome, Approved) else answer.outcome for answer in answers]
    assert MAGIC_ANSWERS[str(amount)] == told
    assert MAGIC_AMOUNTS[amount].ends.split(",")[0] == end_of(answers, inquiry)
    assert (1 if str(amount)[-2:] in MOVED else 0) == len(effects)


async def test_an_amount_that_is_approved_after_a_requeue(gateway: Gateway) -> None:
    """A new series has its own key, and this amount is approved under it."""
    payment = payment_id()
    amount = Decimal("9000.04")

    first = await gateway.pay(call_of(payment, amount, f"payment-{payment}"))
    second = await gateway.pay(call_of(payment, amount, f"payment-{payment}-2"))

    assert [Declined, Approved] == [type(first.outcome), type(second.outcome)]


def test_magic_amounts_are_in_their_range() -> None:
    """They are from 9000.01 to 9000.99, so that all other amounts are ordinary."""
    assert all(Decimal("9000.01") <= amount <= Decimal("9000.99") for amount in MAGIC_AMOUNTS)
