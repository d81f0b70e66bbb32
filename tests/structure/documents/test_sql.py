"""The queries that the documents show run on a ledger as it is now."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psycopg
import pytest

from ledger.store.database import Database
from tests.support.databases import fresh_ledger
from tests.support.documents import CHECKOUT, blocks, pages

FOR_OWNERS: Final = "CREATE ROLE"
"""Statements for somebody who may create roles; `tests/ledger/store/migrations/test_service_role.py` runs such ones."""

QUERIES: Final = [
    pytest.param(block.text, id=f"{path.relative_to(CHECKOUT)}:{block.line}")
    for path in pages()
    for block in blocks(path.read_text("utf-8"))
    if block.language == "sql" and FOR_OWNERS not in block.text
]


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """An empty ledger."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_runs(database: Database, query: str) -> None:
    """With the tables and columns that there are."""
    with psycopg.connect(database.conninfo(application="test", owner=True)) as connection:
        cursor = connection.execute(query.replace("ledger.", f"{database.schema}.").encode())

        assert cursor.description is not None


def test_there_are_queries() -> None:
    """A pattern that finds none would prove nothing."""
    assert len(QUERIES) >= 6


def test_every_query_is_a_query() -> None:
    """Nobody changes a ledger by hand because a page shows how."""
    texts = [str(query.values[0]) for query in QUERIES]

    assert [text for text in texts if not text.lstrip().startswith("SELECT ")] == []
    assert Path(CHECKOUT / "CONTRIBUTING.md").exists()
