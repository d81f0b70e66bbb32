"""A shell and a writer of a migrated, empty ledger."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, shell_of
from tests.support.databases import fresh_partitions


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


@pytest.fixture
def two(postgres_url: str) -> Iterator[Partitions]:
    """Yield an empty ledger with two partitions."""
    with fresh_partitions(postgres_url, 2) as partitions:
        yield partitions


@pytest.fixture
def two_shell(tmp_path: Path, two: Partitions) -> Shell:
    """Give a shell whose settings name the ledger with two partitions."""
    return shell_of(tmp_path, two)
