"""A fresh ledger and a writer for it, and a ledger on paper."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger, remove
from tests.support.ledgers.paper import PaperWriter


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger in a schema of its own."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def empty(postgres_url: str) -> Iterator[Database]:
    """Yield a ledger whose schema does not exist yet."""
    database = Database(postgres_url, f"test_{uuid4().hex[:16]}")
    yield database
    remove(database)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Yield a running writer of that ledger."""
    writer = Writer(database, patience_seconds=30.0)  # a busy machine may take longer than a client waits
    writer.start()
    yield writer
    writer.stop()


@pytest.fixture
def ledger() -> PaperWriter:
    """Return a paper ledger with account 1, which holds ten dollars."""
    writer = PaperWriter()
    writer.opened("10.00")
    return writer
