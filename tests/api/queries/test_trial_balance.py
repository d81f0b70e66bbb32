"""The trial balance reads the whole journal, and has more time for that than other reads have."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from api.operator.verification import sum_up
from api.queries import pool as pools
from api.queries.pool import ReadPool
from api.views.trial_balance import read_journal_sums
from ledger.errors import DatabaseUnavailable
from ledger.store.database import Database

pytestmark = pytest.mark.anyio


@contextmanager
def journal_locked(database: Database) -> Iterator[None]:
    """Let everybody who reads the journal wait, as a large one does."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as owner, owner.transaction():
        owner.execute("LOCK TABLE journal_posting IN ACCESS EXCLUSIVE MODE")
        yield


async def test_over_http_it_may_take_longer_than_other_reads(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has nearly all the time of its request."""
    monkeypatch.setitem(pools._SESSION, "statement_timeout", "500ms")
    pool = ReadPool(database)
    await pool.open()
    try:
        with journal_locked(database):
            summing = asyncio.create_task(read_journal_sums(pool))
            with pytest.raises(DatabaseUnavailable):
                await pool.rows("SELECT pg_sleep(5)")
            assert not summing.done()
        balance = await summing
    finally:
        await pool.close()

    assert balance.balanced


async def test_over_http_it_ends_within_its_request(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself, so that the server does not go on with it."""
    monkeypatch.setattr("api.views.trial_balance.SUM_SECONDS_MAX", 0.1)
    pool = ReadPool(database)
    await pool.open()
    try:
        with journal_locked(database), pytest.raises(DatabaseUnavailable):
            await read_journal_sums(pool)
    finally:
        await pool.close()


async def test_on_the_command_line_it_takes_as_long_as_it_needs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An auditor waits."""
    monkeypatch.setattr("api.http.deadlines.READ_SECONDS_MAX", 0.2)
    with journal_locked(database):
        summing = asyncio.create_task(asyncio.to_thread(sum_up, database))
        await asyncio.wait({summing}, timeout=1)
        assert not summing.done()
    balance = await summing

    assert balance.balanced
