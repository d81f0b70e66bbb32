"""Rows of read models as a projector would have written them, for states that are long to reach by payments."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from ledger.sql import load_statements

SQL: Final = load_statements("tests.api", "seeds.sql")
START: Final = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)

_STATUS: Final = {
    "new": "new",
    "processing": "processing",
    "in_doubt": "processing",
    "succeeded": "success",
    "failed": "failed",
}


class Seeds:
    """Writes rows of read models."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def payment(self, payment_id: int, *, account_id: int = 1, state: str = "succeeded", **columns: object) -> None:
        """Write a payment: by default a deposit of 200.00 that succeeded."""
        defaults = {
            "kind": "deposit",
            "amount_minor": 20_000,
            "fee_minor": 400,
            "currency": "USD",
            "attempts": 1,
            "last_error": None,
            "next_retry_at": None,
            "at": START,
            "position": payment_id,
        }
        ids = {"payment_id": payment_id, "account_id": account_id, "state": state, "status": _STATUS[state]}
        self._connection.execute(SQL["payment"], defaults | ids | columns)

    def account(self, account_id: int = 1, *, posted_minor: int, held_minor: int = 0, currency: str = "USD") -> None:
        """Write an account."""
        row = {"account_id": account_id, "currency": currency, "posted_minor": posted_minor, "held_minor": held_minor}
        self._connection.execute(SQL["account"], row | {"at": START})

    def opening(self, position: int, amount_minor: int, *, account_id: int = 1, minutes: int = 0) -> None:
        """Write the journal's entry of an opening."""
        self._entry(position, account_id, None, amount_minor, minutes, opening_equity_minor=amount_minor)

    def settled(
        self, position: int, net_minor: int, balance_after_minor: int, *, account_id: int = 1, minutes: int = 0
    ) -> None:
        """Write the journal's entry of a settled payment without a fee, signed as the customer sees it."""
        self._entry(
            position,
            account_id,
            position,
            net_minor,
            minutes,
            gateway_clearing_minor=net_minor,
            balance_after_minor=balance_after_minor,
        )

    def letter(self, payment_id: int, *, position: int, state: str = "failed") -> None:
        """Write a dead letter: a withdrawal of 50.00."""
        row = {"payment_id": payment_id, "position": position, "state": state, "at": START}
        self._connection.execute(SQL["letter"], row)

    def counter(self, name: str, value: int) -> None:
        """Write a counter."""
        self._connection.execute(SQL["counter"], {"name": name, "value": value})

    def stopped(self, name: str) -> None:
        """Stop a group of read models."""
        self._connection.execute(SQL["stopped"], {"name": name})

    def heartbeat(self, part: str, instance: str) -> None:
        """Let a part say that it runs."""
        self._connection.execute(SQL["heartbeat"], {"part": part, "instance": instance})

    def _entry(
        self,
        position: int,
        account_id: int,
        payment_id: int | None,
        amount_minor: int,
        minutes: int,
        **columns: int,
    ) -> None:
        row = {
            "position": position,
            "account_id": account_id,
            "payment_id": payment_id,
            "currency": "USD",
            "customer_minor": -amount_minor,
            "gateway_clearing_minor": 0,
            "fee_revenue_minor": 0,
            "opening_equity_minor": 0,
            "balance_after_minor": amount_minor,
            "at": START + timedelta(minutes=minutes),
        }
        self._connection.execute(SQL["entry"], row | columns)
