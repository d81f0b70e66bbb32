"""The pool for reads survives a restart of the server, and refuses reads in time while the server cannot be reached."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import TupleRow
from structlog.testing import capture_logs

from api.http.deadlines import begin_request
from api.queries.pool import ReadPool
from ledger.errors import DatabaseUnavailable
from ledger.store.database import Database
from tests.support.databases import end_sessions, ledger_of_its_own

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger whose sessions a test may interrupt."""
    with ledger_of_its_own(postgres_url) as database:
        yield database


@pytest.fixture
async def pool(database: Database) -> AsyncIterator[ReadPool]:
    """Yield a connected pool."""
    pool = ReadPool(database)
    await pool.open()
    await asyncio.gather(*(pool.rows("SELECT pg_sleep(0.05)") for _ in range(4)))
    yield pool
    await pool.close()


async def test_no_reader_notices_a_restart(pool: ReadPool, database: Database) -> None:
    """All connections were lost while they were idle."""
    end_sessions(database, "payment-ledger api")

    rows = await asyncio.gather(*(pool.rows("SELECT 1 + %(n)s::int", {"n": n}) for n in range(8)))

    assert rows == [[(n + 1,)] for n in range(8)]


async def test_a_read_that_lost_its_connection_is_retried(pool: ReadPool, database: Database) -> None:
    """It is retried once, because reading twice does no harm."""
    calls = 0

    async def cut_off_once(connection: psycopg.AsyncConnection[Any]) -> TupleRow | None:
        nonlocal calls
        calls += 1
        if calls == 1:
            end_sessions(database, "payment-ledger api")
        return await (await connection.execute("SELECT 7")).fetchone()

    assert await pool.read(cut_off_once) == (7,)
    assert calls == 2


async def test_a_read_that_keeps_losing_its_connection_is_refused(pool: ReadPool, database: Database) -> None:
    """It is not retried for ever."""

    async def cut_off(connection: psycopg.AsyncConnection[Any]) -> None:
        end_sessions(database, "payment-ledger api")
        await connection.execute("SELECT 7")

    with pytest.raises(DatabaseUnavailable):
        await pool.read(cut_off)


async def test_a_read_that_takes_too_long_is_refused(pool: ReadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection is cut, and the next read gets another one."""
    monkeypatch.setattr("api.http.deadlines.READ_SECONDS_MAX", 0.1)

    with pytest.raises(DatabaseUnavailable):
        await pool.rows("SELECT pg_sleep(30)")
    monkeypatch.undo()

    assert await pool.rows("SELECT 7") == [(7,)]


async def test_a_read_of_a_request_without_time_is_refused(pool: ReadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """All reads of one request share its time, so that several slow ones do not add up."""
    with monkeypatch.context() as patching:
        patching.setattr("api.http.deadlines.READ_SECONDS_MAX", 0.0)
        begin_request("r-1")

    with pytest.raises(DatabaseUnavailable):
        await pool.rows("SELECT pg_sleep(1)")


async def test_an_error_of_the_server_is_a_mistake_of_ours(pool: ReadPool) -> None:
    """Such an error is not reported as a lost database, and not retried."""
    with pytest.raises(psycopg.errors.UndefinedTable):
        await pool.rows("SELECT * FROM no_such_table")


async def test_reads_cannot_write(pool: ReadPool) -> None:
    """Their sessions are read-only."""
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await pool.rows("DELETE FROM counters")


async def test_a_slow_read_is_in_the_log_without_its_values(pool: ReadPool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line has the statement, or the name of the function that reads."""
    monkeypatch.setattr("api.queries.pool.SLOW_QUERY_SECONDS", 0.05)

    async def sleep(connection: psycopg.AsyncConnection[Any]) -> None:
        await connection.execute("SELECT pg_sleep(0.1)")

    with capture_logs() as lines:
        await pool.rows("SELECT pg_sleep(%(seconds)s::float8),\n       %(text)s", {"seconds": 0.1, "text": "hunter2"})
        await pool.rows("SELECT 1")
        await pool.read(sleep)

    assert [line["query"].rpartition(".")[2] for line in lines] == [
        "SELECT pg_sleep(%(seconds)s::float8), %(text)s",
        "sleep",
    ]
    assert all(line["event"] == "slow_query" and line["took_seconds"] >= 0.05 for line in lines)
    assert "hunter2" not in str(lines)
