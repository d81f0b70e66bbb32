"""A ledger for what judges measurements."""

from collections.abc import Iterator

import pytest

from ledger.database import Database
from tests.databases import fresh_ledger


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Make an empty ledger in a schema of its own."""
    with fresh_ledger(postgres_url) as database:
        yield database
