"""Commands to a writer before and after a recovery, and the count of recoveries."""

from decimal import Decimal
from typing import Any, Final

import psycopg

from ledger.domain.commands import OpenAccount, PaymentAcceptance, RequestDeposit
from ledger.domain.identifiers import LEDGER_STREAM
from ledger.writer.writer import Writer

WITHIN_SECONDS: Final = 30.0


def open_account(writer: Writer) -> int:
    """Open an account, and return its id."""
    command = OpenAccount(command_id="o", opening=Decimal(1_000), currency="USD")
    return writer.submit(command).result(WITHIN_SECONDS).account_id


def request(writer: Writer, account_id: int = 1) -> PaymentAcceptance:
    """Request a deposit."""
    command = RequestDeposit(command_id="d", account_id=account_id, amount=Decimal(5), fee_rate_ppm=20_000)
    return writer.submit(command).result(WITHIN_SECONDS)


def recoveries(connection: psycopg.Connection[Any]) -> int:
    """Count the recoveries in a log."""
    row = connection.execute("SELECT count(*) FROM events WHERE originator_id = %s", (LEDGER_STREAM,)).fetchone()
    assert row is not None
    return int(row[0])
