"""Queries of single accounts and payments from their events, for request handlers.

`ledger.application` blocks the calling thread while it waits for the database, so each read runs in a small thread
pool.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TypeVar

from api.errors import ReadsBusy
from api.http.deadlines import seconds_left
from api.queries.pool import WAITING_MAX
from ledger.application.application import AccountAt, Ledger, Placed
from ledger.application.recorder import CONNECTIONS_MAX
from ledger.domain.events import PaymentEvent
from ledger.errors import DatabaseUnavailable
from ledger.store.database import Database

ResultT = TypeVar("ResultT")


class HistoryQueries:
    """Reads accounts and payments from their events.

    Every method raises ReadsBusy, and DatabaseUnavailable, also when it takes longer than its request may.
    """

    def __init__(self, database: Database) -> None:
        """Prepare the thread pool; the first read connects."""
        self._ledger = Ledger(database)
        self._threads = ThreadPoolExecutor(CONNECTIONS_MAX, thread_name_prefix="history")
        self._waiting = 0

    async def close(self) -> None:
        """Cancel the waiting reads and close the connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._ledger.close)

    async def opening(self, account_id: int) -> AccountAt:
        """Read an account as it was opened. Raises AccountNotFound, LogBroken."""
        return await self._read(lambda ledger: _opening(ledger, account_id))

    async def account_at(
        self, account_id: int, *, position: int | None = None, at: datetime | None = None
    ) -> AccountAt | None:
        """Read an account at a position or a time; None if it was not open then. Raises AccountNotFound, LogBroken."""
        return await self._read(lambda ledger: ledger.account_at(account_id, position=position, at=at))

    async def payment(self, payment_id: int) -> list[Placed[PaymentEvent]]:
        """Read a payment's events with their positions, oldest first. Raises PaymentNotFound, LogBroken."""
        return await self._read(lambda ledger: ledger.payment_history(payment_id))

    async def _read(self, function: Callable[[Ledger], ResultT]) -> ResultT:
        if self._waiting >= WAITING_MAX:
            raise ReadsBusy
        self._waiting += 1
        try:
            async with asyncio.timeout(seconds_left()):
                loop = asyncio.get_running_loop()
                return await loop.run_in_executor(self._threads, function, self._ledger)
        except TimeoutError:
            raise DatabaseUnavailable from None
        finally:
            self._waiting -= 1


def _opening(ledger: Ledger, account_id: int) -> AccountAt:
    position, recorded, account = next(ledger.replay_account(account_id))
    return AccountAt(account=account, position=position, at=recorded.at)
