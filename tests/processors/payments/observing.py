"""How the tests of the worker request payments, and read their results."""

from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

from ledger.application.application import Ledger
from ledger.domain.commands import RequestDeposit, RequestWithdrawal
from ledger.domain.payment import Payment
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.waiting import wait_until

WITHIN_SECONDS = 30.0
GATE = {"gateway": "gateway", "hold_max": timedelta(minutes=1), "probing": False}
"""The parameters of a claim that are about the gateway's state."""


def request_withdrawal(writer: Writer) -> int:
    command = RequestWithdrawal(command_id="w", account_id=1, amount=Decimal(50), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS).payment_id


def request_deposit(writer: Writer) -> int:
    command = RequestDeposit(command_id="d", account_id=1, amount=Decimal(200), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS).payment_id


def ended(ledger: Ledger, payment_id: int) -> Payment:
    wait_until(lambda: ledger.payment(payment_id).ended)
    return ledger.payment(payment_id)


def attempts(database: Database) -> list[tuple[Any, ...]]:
    """Series, attempt, outcome and error of each recorded attempt, and whether its report was late."""
    with closing(database.connect(application="test")) as connection:
        return connection.execute(
            "SELECT data->'series', data->'attempt', data->>'outcome', data->>'error',"
            " coalesce(data->'late' = 'true', false)"
            " FROM (SELECT notification_id, convert_from(state, 'UTF8')::jsonb->'data' AS data FROM events"
            " WHERE topic = 'payment.gateway_attempted') AS e ORDER BY notification_id"
        ).fetchall()


def queued(database: Database) -> int:
    with closing(database.connect(application="test")) as connection:
        row = connection.execute("SELECT count(*) FROM gateway_queue").fetchone()
    assert row is not None
    return int(row[0])
