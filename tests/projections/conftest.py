"""A fresh ledger, its owner, and a writer for it."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """An empty ledger in a schema of its own."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may do what the service may not."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        yield connection


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """A running writer of that ledger."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()
