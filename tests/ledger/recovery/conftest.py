"""A connection that may change everything in a ledger."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from ledger.store.database import Database


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Yield a connection as the owner of the ledger."""
    with closing(database.connect(application="test", owner=True)) as connection:
        yield connection
