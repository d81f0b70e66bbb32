"""Figures count only if every answer was durable, which is checked before and after each measurement."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ledger.store.database import Database
from tests.benchmarks.measuring.durability import (
    NotDurable,
    ensure_durable,
    ensure_on_disk,
    ensure_server_durable,
    file_system_of,
    lost_durability,
)
from tests.support.databases import fresh_database, fresh_ledger

DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@pytest.mark.parametrize("name", DURABLE)
def test_each_setting_that_loses_answers_is_named(name: str) -> None:
    """A setting that is off or missing is named."""
    assert lost_durability(DURABLE) == []
    assert lost_durability(DURABLE | {name: "off"}) == [f"{name} is off"]
    assert lost_durability({other: "on" for other in DURABLE if other != name}) == [f"{name} is unknown"]


def test_a_durable_ledger_passes(database: Database) -> None:
    """The embedded Postgres has the settings that pass."""
    ensure_server_durable(database.url)
    ensure_durable(database)


@pytest.fixture
def lax_url(postgres_url: str) -> Iterator[str]:
    """Return a real database whose sessions do not wait for the disk."""
    with fresh_database(postgres_url) as url:
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            name = sql.Identifier(connection.info.dbname)
            connection.execute(sql.SQL("ALTER DATABASE {} SET synchronous_commit = off").format(name))
        yield url


def test_a_postgres_with_synchronous_commit_off_fails_the_run(lax_url: str) -> None:
    """The run fails before anything is measured."""
    with pytest.raises(NotDurable, match="synchronous_commit is off"):
        ensure_server_durable(lax_url)


def test_a_ledger_whose_sessions_do_not_wait_for_the_disk_fails_the_run(lax_url: str) -> None:
    """The sessions of the owner and of the service are both checked."""
    with fresh_ledger(lax_url) as database, pytest.raises(NotDurable) as refused:
        ensure_durable(database)

    assert "for the owner, synchronous_commit is off" in str(refused.value)
    assert "for the service, synchronous_commit is off" in str(refused.value)


def test_a_service_alone_that_does_not_wait_for_the_disk_fails_the_run(database: Database) -> None:
    """The service's sessions may have settings of their own."""
    lax = Database(f"{database.url}&options=-c%20synchronous_commit%3Doff", database.schema)

    with pytest.raises(NotDurable, match="for the service, synchronous_commit is off"):
        ensure_durable(lax)


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/data/bench", "ext4"),
        ("/memory/bench", "tmpfs"),
        ("/memory", "tmpfs"),
        ("/memory2", "ext4"),
        ("/memory/disk/bench", "xfs"),
        ("/over/bench", "tmpfs"),
    ],
)
def test_the_file_system_of_a_directory_is_that_of_the_nearest_mount(directory: str, kind: str) -> None:
    """If two file systems are mounted at one place, the later one counts."""
    mounts = [("/", "ext4"), ("/memory", "tmpfs"), ("/memory/disk", "xfs"), ("/over", "ext4"), ("/over", "tmpfs")]

    assert kind == file_system_of(Path(directory), mounts)


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="has no files in memory")  # noqa: S108 - only checked
def test_a_directory_in_memory_fails_the_run() -> None:
    """Files in memory are not durable, even if Postgres does not notice."""
    with pytest.raises(NotDurable, match="in memory"):
        ensure_on_disk(Path("/dev/shm"))  # noqa: S108 - only checked
