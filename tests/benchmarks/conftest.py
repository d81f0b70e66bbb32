"""A ledger for the tests of the benchmark's own checks."""

from collections.abc import Iterator

import pytest

from ledger.store.database import Database
from tests.support.databases import fresh_ledger


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger in a schema of its own."""
    with fresh_ledger(postgres_url) as database:
        yield database
