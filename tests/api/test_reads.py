"""Reads: they survive a restart of the server, and are refused in time while it is away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow

from api.reads import Reads
from ledger.database import Database
from ledger.errors import DatabaseUnavailable

pytestmark = pytest.mark.anyio


@pytest.fixture
async def reads(database: Database) -> AsyncIterator[Reads]:
    """Give reads that are connected."""
    reads = Reads(database)
    await reads.open()
    await asyncio.gather(*(reads.rows("SELECT pg_sleep(0.05)") for _ in range(4)))
    yield reads
    await reads.close()


def end_all_sessions(database: Database) -> None:
    """End all sessions of the reads, as a restart of the server does."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name = 'payment-ledger api'"
            " AND pid <> pg_backend_pid()"
        )


async def test_no_reader_notices_a_restart(reads: Reads, database: Database) -> None:
    """All connections were lost while nobody read."""
    end_all_sessions(database)

    rows = await asyncio.gather(*(reads.rows("SELECT 1 + %(n)s::int", {"n": n}) for n in range(8)))

    assert rows == [[(n + 1,)] for n in range(8)]


async def test_a_read_that_was_cut_off_is_made_again(reads: Reads, database: Database) -> None:
    """Once: reading twice does no harm."""
    calls = 0

    async def cut_off_once(connection: psycopg.AsyncConnection[Any]) -> TupleRow | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            end_all_sessions(database)
        return await (await connection.execute("SELECT 7")).fetchone()

    assert await reads.read(cut_off_once) == (7,)
    assert calls == 2


async def test_a_read_that_is_cut_off_again_and_again_is_refused(reads: Reads, database: Database) -> None:
    """It is not made for ever."""

    async def cut_off(connection: psycopg.AsyncConnection[Any]) -> None:
        end_all_sessions(database)
        await connection.execute("SELECT 7")

    with pytest.raises(DatabaseUnavailable):
        await reads.read(cut_off)


async def test_a_read_that_takes_too_long_is_refused(reads: Reads, monkeypatch: pytest.MonkeyPatch) -> None:
    """And its connection is given back."""
    monkeypatch.setattr("api.reads.READ_SECONDS_MAX", 0.1)

    with pytest.raises(DatabaseUnavailable):
        await reads.rows("SELECT pg_sleep(5)")


async def test_what_the_server_refuses_is_a_mistake_of_ours(reads: Reads) -> None:
    """It is not hidden as a lost database, and not tried again."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        await reads.rows("SELECT * FROM no_such_table")


async def test_reads_cannot_write(reads: Reads) -> None:
    """Their sessions are read-only."""
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await reads.rows("DELETE FROM counters")
