"""Compare all that clients can read, to the cent, with itself and with the gateway's book."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

from tests.support.services import Client

FEE = Decimal("0.02")
_CENT = Decimal("0.01")


def exact(number: Any) -> Decimal:
    """Convert a JSON number to the decimal that was written."""
    return Decimal(str(number))


class Comparison(NamedTuple):
    """One comparison: the things compared, their number, and the differences in sentences."""

    what: str
    things: int
    found: list[str]


def differences(client: Client, openings: Mapping[int, Decimal], payment_ids: Iterable[int]) -> list[str]:
    """List in sentences the differences in payments, balances, holds, effects and journal. Empty if there are none."""
    return [found for comparison in comparisons(client, openings, payment_ids) for found in comparison.found]


def comparisons(
    client: Client,
    openings: Mapping[int, Decimal],
    payment_ids: Iterable[int],
    *,
    lost_keys: Collection[str] = (),
) -> list[Comparison]:
    """Compare payments, balances, holds, effects and journal.

    `openings` are the opening balances by user, `payment_ids` the payments that clients were told of. A payment in
    doubt may have an effect or none. If a payment has an effect too many, its history must have an event that says so
    (a contradiction). Effects under `lost_keys` belong to what a restored store has forgotten.
    """
    payments = {payment["payment_id"]: payment for payment in client.pages("/payments", limit=500)}
    letters = {letter["payment_id"]: letter["state"] for letter in _letters(client)}
    effects = client.pages("/mock-gateway/effects", cursor="after", following="next_after", limit=1000)
    effects = [effect for effect in effects if effect["key"] not in lost_keys]
    told = Counter(payment_ids)
    return [
        Comparison(
            "payments acknowledged: none missing, none doubled", len(told), _payments_that_differ(payments, told)
        ),
        Comparison("fees", len(payments), _fees_that_differ(payments)),
        Comparison(
            "balances and holds, to the cent",
            len(openings),
            _balances_that_differ(client, openings, payments.values(), letters),
        ),
        Comparison(
            "effects in the gateway's book", len(effects), _effects_that_differ(client, payments, effects, letters)
        ),
        Comparison("journals", 1, _journal_that_differs(client)),
    ]


def _letters(client: Client) -> list[Any]:
    letters: list[Any] = []
    while page := client.get("/dlq", limit=500, offset=len(letters)):
        letters += page
    return letters


def _payments_that_differ(payments: Mapping[int, Any], told: Counter[int]) -> list[str]:
    found = [f"payment {payment_id} was acknowledged and is missing" for payment_id in told.keys() - payments.keys()]
    found += [f"payment {payment_id} is there and nobody asked for it" for payment_id in payments.keys() - told.keys()]
    found += [f"payment {payment_id} answers {count} requests" for payment_id, count in told.items() if count > 1]
    return found


def _fees_that_differ(payments: Mapping[int, Any]) -> list[str]:
    found = []
    for payment_id, payment in payments.items():
        fee = (exact(payment["amount"]) * FEE).quantize(_CENT, ROUND_HALF_UP)
        if exact(payment["commission"]) != fee:
            found.append(f"payment {payment_id} has a fee of {payment['commission']} and not of {fee}")
    return found


def _balances_that_differ(
    client: Client, openings: Mapping[int, Decimal], payments: Iterable[Any], letters: Mapping[int, str]
) -> list[str]:
    balances, holds = dict(openings), dict.fromkeys(openings, Decimal(0))
    found = []
    for payment in payments:
        user_id, amount, fee = payment["user_id"], exact(payment["amount"]), exact(payment["commission"])
        if payment["status"] == "success":
            balances[user_id] += amount - fee if payment["type"] == "deposit" else -amount - fee
        elif letters.get(payment["payment_id"]) == "in_doubt" and payment["type"] == "withdraw":
            holds[user_id] += amount + fee
        elif payment["status"] != "failed" and letters.get(payment["payment_id"]) != "in_doubt":
            found.append(f"payment {payment['payment_id']} has no end: {payment['status']}")
    for user_id, balance in balances.items():
        user = client.get(f"/users/{user_id}")
        has = (exact(user["balance"]), exact(user["held"]), exact(user["available"]))
        if has != (balance, holds[user_id], balance - holds[user_id]):
            found.append(f"user {user_id} has {has} and should have {balance}, {holds[user_id]} of it held")
    return found


def _effects_that_differ(
    client: Client, payments: Mapping[int, Any], effects: Iterable[Any], letters: Mapping[int, str]
) -> list[str]:
    found, of_payment = [], defaultdict(list)
    for effect in effects:
        of_payment[effect["payment_id"]].append(effect)
    found += [
        f"the gateway moved money for payment {payment_id}, unknown to us"
        for payment_id in of_payment.keys() - payments.keys()
    ]
    for payment_id, payment in payments.items():
        moved = of_payment[payment_id]
        for effect in moved:
            told = [effect["type"], exact(effect["amount"]), exact(effect["commission"])]
            if told != [payment["type"], exact(payment["amount"]), exact(payment["commission"])]:
                found.append(f"the gateway moved {told} for payment {payment_id}")
        known = int(payment["status"] == "success")
        if letters.get(payment_id) == "in_doubt":
            known = len(moved)  # in doubt is exactly whether it was moved
        elif known != len(moved):
            known += _contradictions(client, payment_id) - _reconciliations(client, payment_id)
        if known != len(moved):
            found.append(
                f"payment {payment_id} is {payment['status']}, and the gateway moved its money {len(moved)} times"
            )
    return found


def _contradictions(client: Client, payment_id: int) -> int:
    events = client.get(f"/payments/{payment_id}/events")["items"]
    return sum(event["topic"] == "payment.contradicted" for event in events)


def _reconciliations(client: Client, payment_id: int) -> int:
    """Count the contradictions for which an operator has posted a success."""
    events = client.get(f"/payments/{payment_id}/events")["items"]
    return sum(
        event["topic"] == "payment.succeeded" and event["data"]["ended_by"] == "reconciliation" for event in events
    )


def _journal_that_differs(client: Client) -> list[str]:
    trial_balance = client.get("/audit/trial-balance")
    return [] if trial_balance["balanced"] else [f"the journal does not balance: {trial_balance['currencies']}"]
