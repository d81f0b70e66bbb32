"""Compare all that clients of a service can read with the model ledger, and the gateway's book with both."""

from collections import Counter, defaultdict
from collections.abc import Collection
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from tests.model.ledger import DECIMALS, Model, stream_of
from tests.model.state import Payment
from tests.support.gateways.steered import Effect, SteeredGateway
from tests.support.services import Client
from tests.support.waiting import wait_until

ENDS: Final = frozenset({"payment.succeeded", "payment.failed", "payment.resolved"})
QUIET: Final = ENDS | {"payment.parked"}


def last_state(events: list[dict[str, Any]]) -> str:
    """The topic of the last event that changed the payment's state: late answers and bookings do not."""
    aside = {"payment.contradicted", "payment.adjusted"}
    return str([each["topic"] for each in events if each["topic"] not in aside and not each["data"].get("late")][-1])


def is_asked_late(events: list[dict[str, Any]]) -> bool:
    """Whether a late inquiry about a payment is still to come."""
    scheduling = {"payment.failed", "payment.inquired", "payment.requeued"}
    last = [each for each in events if each["topic"] in scheduling][-1:]
    return any(each["data"].get("inquire_at") for each in last)


def decimal(minor: int, currency: str) -> Decimal:
    """Convert minor units to the decimal that clients read."""
    return Decimal(minor).scaleb(-DECIMALS[currency])


def number(value: Any) -> Decimal:
    """Convert an amount that a client read to a decimal."""
    return Decimal(str(value))


class Reader:
    """A client that reads every resource."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.wait_for_the_read_models()
        self._counters = client.get("/metrics")
        self._trial_balance = self._sums()

    # --- waiting ---

    def events(self, payment_id: int) -> list[dict[str, Any]]:
        """A payment's history. It is read from the log and so is always up to date."""
        items: list[dict[str, Any]] = self._client.get(f"/payments/{payment_id}/events")["items"]
        return items

    def wait_for_the_gateway(self, payment_id: int, rest: Collection[str], *, late: bool) -> list[dict[str, Any]]:
        """Wait until a payment is at rest, with `late` also for the end of late inquiries, and return its history."""

        def is_at_rest() -> bool:
            events = self.events(payment_id)
            return last_state(events) in rest and not (late and is_asked_late(events))

        wait_until(is_at_rest)
        return self.events(payment_id)

    def wait_for_the_read_models(self) -> None:
        """Wait until the read models have caught up."""
        wait_until(lambda: all(each["lag"] == 0 for each in self._client.get("/health")["read_models"]))

    # --- comparing ---

    def compare(self, model: Model, *, replays: int | None) -> None:
        """Compare every resource with the model. `replays` is the API process's number of replays, if known."""
        for user_id in model.users:
            self._compare_user(model, user_id)
            self._compare_statement(model, user_id)
        for payment in model.payments.values():
            self._compare_payment(model, payment)
        self._compare_letters(model)
        self._compare_counters(model, replays)
        self._compare_trial_balance(model)

    def _compare_payment(self, model: Model, payment: Payment) -> None:
        events = self.events(payment.payment_id)
        assert [each["topic"] for each in events] == [
            event for stream, event in model.log if stream == stream_of(payment)
        ]
        assert [each["version"] for each in events] == [*range(1, len(events) + 1)]
        times = {"created_at": events[0]["at"], "updated_at": events[-1]["at"]}
        assert readable(self._client.get(f"/payments/{payment.payment_id}")) == shown(model, payment) | times

    def _compare_user(self, model: Model, user_id: int) -> None:
        currency = model.users[user_id].currency
        user = self._client.get(f"/users/{user_id}")
        now = self._client.get(f"/users/{user_id}/balance")
        for name, minor in [
            ("balance", model.balance(user_id)),
            ("held", model.held(user_id)),
            ("available", model.available(user_id)),
        ]:
            assert number(user[name]) == number(now[name]) == decimal(minor, currency) >= 0
        mine = [payment for payment in model.payments.values() if payment.user_id == user_id]
        transactions = self._client.pages(f"/users/{user_id}/transactions", limit=7)
        assert [each["payment_id"] for each in transactions] == sorted((p.payment_id for p in mine), reverse=True)
        by_id = {payment.payment_id: payment for payment in mine}
        for each in map(readable, transactions):
            assert each == each | shown(model, by_id[each["payment_id"]])

    def _compare_statement(self, model: Model, user_id: int) -> None:
        """The order of two settlements is not known, but each entry must follow from the one before."""
        currency = model.users[user_id].currency
        items = self._client.pages(f"/users/{user_id}/statement", limit=7)
        expected = Counter(
            (entry.payment_id, decimal(-entry.customer, currency))
            for entry in model.journal
            if entry.user_id == user_id
        )
        assert Counter((item["payment_id"], number(item["amount"])) for item in items) == expected
        assert items[0]["payment_id"] is None
        assert number(items[0]["balance_after"]) == number(items[0]["amount"])
        for before, after in pairwise(items):
            assert before["position"] < after["position"]
            assert number(after["balance_after"]) == number(before["balance_after"]) + number(after["amount"])
        then = self._client.get(f"/users/{user_id}/balance", position=items[-1]["position"])
        assert (
            number(then["balance"]) == number(items[-1]["balance_after"]) == decimal(model.balance(user_id), currency)
        )

    def _compare_letters(self, model: Model) -> None:
        listed = self._client.get("/dlq", limit=500)
        assert [each["id"] for each in listed] == sorted((each["id"] for each in listed), reverse=True)
        mine = {each["payment_id"]: each for each in listed if each["payment_id"] in model.payments}
        assert set(mine) == set(model.letters())
        for payment_id, letter in model.letters().items():
            payment, read = model.payments[payment_id], mine[payment_id]
            assert [read[name] for name in ("state", "error", "attempts")] == [
                letter[name] for name in ("state", "error", "attempts")
            ]
            assert (read["user_id"], read["payment_type"]) == (payment.user_id, payment.kind)
            assert number(read["amount"]) == decimal(payment.amount, payment.currency)
        places = {payment_id: {event["position"] for event in self.events(payment_id)} for payment_id in mine}
        assert all(each["id"] in places[payment_id] for payment_id, each in mine.items())

    def _compare_counters(self, model: Model, replays: int | None) -> None:
        counters = self._client.get("/metrics")
        hits = counters.pop("idempotency_hits_total")
        for name, count in counters.items():
            assert (name, count - self._counters[name]) == (name, model.counters[name])
        assert replays is None or hits - self._counters["idempotency_hits_total"] == replays

    def _compare_trial_balance(self, model: Model) -> None:
        sums, booked = self._sums(), sums_of(model)
        assert set(sums) >= set(booked)
        for place, amount in sums.items():
            assert (place, amount - self._trial_balance.get(place, 0)) == (place, booked.get(place, 0))

    def _sums(self) -> dict[tuple[str, str], Decimal]:
        trial_balance = self._client.get("/audit/trial-balance")
        assert trial_balance["balanced"]
        names = ("entries", "customers", "gateway_clearing", "fee_revenue", "opening_equity", "suspense", "sum")
        return {(each["currency"], name): number(each[name]) for each in trial_balance["currencies"] for name in names}


def sums_of(model: Model) -> dict[tuple[str, str], Decimal]:
    """Sum up the model's journal as the trial balance does."""
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in model.journal:
        postings = {
            "customers": entry.customer,
            "gateway_clearing": entry.gateway_clearing,
            "fee_revenue": entry.fee_revenue,
            "opening_equity": entry.opening_equity,
            "suspense": entry.suspense,
        }
        for name, minor in postings.items():
            sums[entry.currency, name] += decimal(minor, entry.currency)
        sums[entry.currency, "entries"] += 1
    return sums


def shown(model: Model, payment: Payment) -> dict[str, Any]:
    """A payment at rest as clients must read it, without its times."""
    status = model.status(payment.payment_id)
    return {
        "payment_id": payment.payment_id,
        "user_id": payment.user_id,
        "type": payment.kind,
        "amount": decimal(payment.amount, payment.currency),
        "commission": decimal(payment.fee, payment.currency),
        "currency": payment.currency,
        "status": status["status"],
        "transaction_status": "processing" if status["status"] == "new" else status["status"],
        "attempts": status["attempts"],
        "last_error": status["last_error"],
        "next_retry_at": None,
    }


def readable(payment: dict[str, Any]) -> dict[str, Any]:
    """A payment as a client read it, with exact amounts."""
    return payment | {name: number(payment[name]) for name in ("amount", "commission")}


def compare_effects(model: Model, gateway: SteeredGateway, unsure: set[int]) -> None:
    """Compare the gateway's effects with the model, except for payments that an operator resolved without knowing.

    Each call that the gateway got must be a counted attempt.
    """
    moved = gateway.moved()
    for payment in model.payments.values():
        effects = {key: moved[key] for key in payment.gateway_keys if key in moved}
        amounts = (decimal(payment.amount, payment.currency), decimal(payment.fee, payment.currency))
        wanted = Effect(payment.payment_id, payment.user_id, payment.kind, *amounts)
        assert all(effect == wanted for effect in effects.values())
        said = [what for key in set(payment.gateway_keys) for what, _ in gateway.said(key)]
        if payment.next_call == "inquire_late":
            effects.pop(payment.gateway_key, None)  # the ledger will ask about it, and learn of it then
        assert said.count("pay") <= payment.attempts_in_all
        if payment.state != "in_doubt" and payment.payment_id not in unsure:
            assert set(effects) == payment.moved
            if payment.ever_contradicted:
                assert effects
                assert payment.letter == "contradicted" or payment.closed
            else:
                assert (payment.state == "succeeded") == (len(effects) == 1)
    assert gateway.unexpected == []
