"""A fresh ledger, and a writer for it."""

from collections.abc import Iterator

import pytest

from ledger.database import Database
from ledger.writer import Writer
from tests.databases import fresh_ledger


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """An empty ledger in a schema of its own."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """A running writer of that ledger."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()
