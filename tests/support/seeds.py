"""Rows of read models as a projector would write them, for states that take many payments to reach."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg

from ledger.store.statements import load_statements

SQL: Final = load_statements("tests.support", "seeds.sql")
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
        self._entry(
            position=position,
            account_id=account_id,
            payment_id=None,
            amount_minor=amount_minor,
            account="opening_equity",
            gateway=None,
            balance_after_minor=amount_minor,
            at=START + timedelta(minutes=minutes),
        )

    def settled(
        self, position: int, net_minor: int, balance_after_minor: int, *, account_id: int = 1, minutes: int = 0
    ) -> None:
        """Write the journal's entry of a settled payment without a fee, with the sign that the customer sees."""
        self._entry(
            position=position,
            account_id=account_id,
            payment_id=position,
            amount_minor=net_minor,
            account="gateway_clearing",
            gateway="default",
            balance_after_minor=balance_after_minor,
            at=START + timedelta(minutes=minutes),
        )

    def letter(self, payment_id: int, *, position: int, state: str = "failed", at: datetime = START) -> None:
        """Write a dead letter: a withdrawal of 50.00."""
        row = {"payment_id": payment_id, "position": position, "state": state, "at": at}
        self._connection.execute(SQL["letter"], row)

    def counter(self, name: str, value: int) -> None:
        """Write a counter."""
        self._connection.execute(SQL["counter"], {"name": name, "value": value})

    def ends(self, kind: str, currency: str, ended: str, payments: int) -> None:
        """Write how many payments of a kind and currency have ended so."""
        row = {"kind": kind, "currency": currency, "ended": ended, "payments": payments}
        self._connection.execute(SQL["ends"], row)

    def stopped(self, name: str) -> None:
        """Stop a group of read models."""
        self._connection.execute(SQL["stopped"], {"name": name})

    def set_aside(self, stream: str, *, account_id: int, name: str = "read_models") -> None:
        """Set a stream of a user aside, for a group of read models."""
        row = {"name": name, "stream": stream, "account_id": account_id}
        self._connection.execute(SQL["set_aside"], row)

    def not_filled(self, model: str) -> None:
        """Leave a read model as one that was never filled."""
        self._connection.execute(SQL["not_filled"], {"model": model})

    def heartbeat(self, part: str, instance: str) -> None:
        """Write the heartbeat of a running process."""
        self._connection.execute(SQL["heartbeat"], {"part": part, "instance": instance})

    def _entry(self, **columns: object) -> None:
        self._connection.execute(SQL["entry"], columns)
