"""A shell and a writer of a migrated, empty ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell


@pytest.fixture
def shell(tmp_path: Path, database: Database) -> Shell:
    """Give a shell whose settings name a migrated, empty ledger and allow the demo gateway there."""
    return Shell(
        tmp_path,
        DATABASE_URL=database.url,
        LEDGER_SCHEMA=database.schema,
        DEMO_GATEWAY="true",
        DEMO_GATEWAY_PORT="9",
    )


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Give a running writer."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()
