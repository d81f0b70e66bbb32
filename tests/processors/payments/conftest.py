"""A ledger with one account, for reading."""

from collections.abc import Iterator
from decimal import Decimal

import pytest

from ledger.application.application import Ledger
from ledger.domain.commands import OpenAccount
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.processors.payments.observing import WITHIN_SECONDS


@pytest.fixture
def ledger(database: Database, writer: Writer) -> Iterator[Ledger]:
    """Yield the ledger, with one account of 1000.00."""
    writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result(WITHIN_SECONDS)
    with Ledger(database) as ledger:
        yield ledger
