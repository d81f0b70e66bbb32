"""Holds what clients of a service can read against the model ledger, and the gateway's book against both."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final

from tests.model import DECIMALS, Model, stream_of
from tests.model_books import Payment
from tests.services import Client
from tests.steered_gateway import Effect, SteeredGateway

PATIENCE_SECONDS: Final = 60.0
QUIET: Final = {"payment.succeeded", "payment.failed", "payment.parked", "payment.resolved", "payment.contradicted"}


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for what is to come about; fail when it does not."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def decimal(minor: int, currency: str) -> Decimal:
    """Minor units as clients read them."""
    return Decimal(minor).scaleb(-DECIMALS[currency])


def number(value: Any) -> Decimal:
    """An amount as a client read it."""
    return Decimal(str(value))


class Reader:
    """A client who reads everything."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.wait_for_the_read_models()
        self._counters = client.get("/metrics")
        self._books = self._sums()

    # --- waiting ---

    def events(self, payment_id: int) -> list[dict[str, Any]]:
        """A payment's history; it comes from the log and so is never behind."""
        items: list[dict[str, Any]] = self._client.get(f"/payments/{payment_id}/events")["items"]
        return items

    def wait_for_the_gateway(self, payment_id: int) -> list[dict[str, Any]]:
        """Wait until a payment has come to an end or is in doubt, and give its history."""
        wait_until(lambda: self.events(payment_id)[-1]["topic"] in QUIET)
        return self.events(payment_id)

    def wait_for_the_read_models(self) -> None:
        """Wait until they have seen everything."""
        wait_until(lambda: all(each["lag"] == 0 for each in self._client.get("/health")["read_models"]))

    # --- comparing ---

    def compare(self, model: Model, *, replays: int | None) -> None:
        """Hold everything that can be read against the model; `replays` are those of the API's process, if known."""
        for user_id in model.users:
            self._compare_user(model, user_id)
            self._compare_statement(model, user_id)
        for payment in model.payments.values():
            self._compare_payment(model, payment)
        self._compare_letters(model)
        self._compare_counters(model, replays)
        self._compare_books(model)

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
        """Which of two payments was settled first is not known; that each entry follows from the one before is."""
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

    def _compare_books(self, model: Model) -> None:
        sums, booked = self._sums(), sums_of(model)
        assert set(sums) >= set(booked)
        for place, amount in sums.items():
            assert (place, amount - self._books.get(place, 0)) == (place, booked.get(place, 0))

    def _sums(self) -> dict[tuple[str, str], Decimal]:
        books = self._client.get("/audit/trial-balance")
        assert books["balanced"]
        names = ("entries", "customers", "gateway_clearing", "fee_revenue", "opening_equity", "sum")
        return {(each["currency"], name): number(each[name]) for each in books["currencies"] for name in names}


def sums_of(model: Model) -> dict[tuple[str, str], Decimal]:
    """The sums of the model's journal, as a trial balance has them."""
    sums: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    for entry in model.journal:
        postings = {
            "customers": entry.customer,
            "gateway_clearing": entry.gateway_clearing,
            "fee_revenue": entry.fee_revenue,
            "opening_equity": entry.opening_equity,
        }
        for name, minor in postings.items():
            sums[entry.currency, name] += decimal(minor, entry.currency)
        sums[entry.currency, "entries"] += 1
    return sums


def shown(model: Model, payment: Payment) -> dict[str, Any]:
    """A payment at rest as clients have to see it, but for its times."""
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
    """What the gateway moved is what the model knows to have moved, unless an operator had to say what he believed.

    And nobody has called it without an attempt that was counted.
    """
    moved = gateway.moved()
    for payment in model.payments.values():
        effects = {key: moved[key] for key in payment.gateway_keys if key in moved}
        amounts = (decimal(payment.amount, payment.currency), decimal(payment.fee, payment.currency))
        wanted = Effect(payment.payment_id, payment.user_id, payment.kind, *amounts)
        assert all(effect == wanted for effect in effects.values())
        said = [what for key in set(payment.gateway_keys) for what, _ in gateway.said(key)]
        assert said.count("pay") <= payment.attempts_in_all
        if payment.state != "in_doubt" and payment.payment_id not in unsure:
            assert set(effects) == payment.moved
            assert (payment.state == "succeeded") == (len(effects) == 1)
    assert gateway.unexpected == []
