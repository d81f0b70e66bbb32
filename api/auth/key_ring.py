"""The keys in the memory of a process, so that a request with a key waits for nothing.

All live keys are read again every 2 seconds, and when a request comes with a key that is not known. Such reads take a
tenth of the time at most, and requests share them, so wrong keys in any number do no harm. A process that could not
read them for 5 seconds takes none until it can, so a revocation has taken effect everywhere after that time. The use of
keys is noted once a minute, in one statement for all of them.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from hmac import compare_digest
from math import inf
from typing import Any, Final

import psycopg
import structlog
from msgspec import Struct

from api.auth.key_store import SQL
from api.auth.keys import Scope, digest_of, id_in, sender
from ledger.errors import DatabaseUnavailable, StoreBroken
from ledger.sessions.answer_limit import answer_within
from ledger.store.database import Database

REFRESH_SECONDS: Final = 2.0
STALE_SECONDS: Final = 5.0
PAUSE_SECONDS_MIN: Final = 0.02
PAUSE_TIMES: Final = 9
"""How long the pause between two reads is: so many times as long as the read took."""

USE_SECONDS: Final = 60.0
READ_SECONDS_MAX: Final = 2.0

_NO_DIGEST: Final = bytes(32)
_log = structlog.get_logger()


class LiveKey(Struct, frozen=True, kw_only=True):
    """A key that can be used, with its digests, and the ends of both on this process's monotonic clock."""

    key_id: str
    by: str
    scopes: frozenset[Scope]
    users: frozenset[int] | None
    digest: bytes
    until: float
    former_digest: bytes
    former_until: float


class KeyRing:
    """The live keys of a store."""

    def __init__(self, database: Database, *, refreshes: bool) -> None:
        """Read keys of `database`: regularly with `refreshes`, otherwise only when a request comes with one."""
        self._database = database
        self._refreshes = refreshes
        self._keys: dict[bytes, LiveKey] = {}
        self._read_at = -inf
        self._failed_at = -inf
        self._next_read_at = -inf
        self._used: set[str] = set()
        self._noted_at = time.monotonic()
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the keys fresh, and note at the end which of them were used."""
        refreshing = asyncio.create_task(self._keep_fresh()) if self._refreshes else None
        try:
            yield
        finally:
            if refreshing is not None:
                refreshing.cancel()
                await asyncio.wait([refreshing])
            with suppress(DatabaseUnavailable, StoreBroken):
                await self._note_use()
            await self._disconnect()

    def is_fresh(self) -> bool:
        """Tell whether the keys in memory are still to be believed."""
        return time.monotonic() - self._read_at < STALE_SECONDS

    def find(self, text: bytes) -> LiveKey | None:
        """Return the live key with this text, None while the keys in memory are not to be believed.

        The time that it takes does not tell how much of a secret is right.
        """
        digest, key, now = digest_of(text), self._keys.get(id_in(text)), time.monotonic()
        if key is None or now - self._read_at > STALE_SECONDS:
            compare_digest(digest, _NO_DIGEST)
            return None
        fits = compare_digest(digest, key.digest)
        fits_former = compare_digest(digest, key.former_digest) and now < key.former_until
        return key if (fits or fits_former) and now < key.until else None

    def note(self, key: LiveKey) -> None:
        """Note that a key is used."""
        self._used.add(key.key_id)

    async def refresh(self) -> None:
        """Read the keys as they are after this call; callers share a read. Raises DatabaseUnavailable, StoreBroken."""
        called_at = time.monotonic()
        async with self._reading:
            if self._read_at > called_at:
                return
            if self._failed_at > called_at:
                raise DatabaseUnavailable
            await asyncio.sleep(max(0.0, self._next_read_at - time.monotonic()))
            read_at = time.monotonic()
            try:
                rows = await self._run("read_live_keys", {})
            except (DatabaseUnavailable, StoreBroken):
                self._failed_at = time.monotonic()
                raise
            self._keys = {row[0].encode(): _live(row, read_at) for row in rows}
            self._read_at, now = read_at, time.monotonic()
            self._next_read_at = now + max(PAUSE_SECONDS_MIN, PAUSE_TIMES * (now - read_at))
            if read_at - self._noted_at > USE_SECONDS:
                await self._note_use()

    async def _keep_fresh(self) -> None:
        while True:
            try:
                await self.refresh()
            except (DatabaseUnavailable, StoreBroken) as error:
                if not self.is_fresh():
                    _log.warning("keys_not_read", why=str(error))
            await asyncio.sleep(REFRESH_SECONDS)

    async def _note_use(self) -> None:
        used, self._used, self._noted_at = self._used, set(), time.monotonic()
        if used:
            await self._run("note_use", {"ids": sorted(used)})

    async def _run(self, name: str, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                if self._connection is None:
                    self._connection = await self._database.connect_async(application="payment-ledger keys")
                with answer_within(self._connection, READ_SECONDS_MAX):
                    cursor = await self._connection.execute(SQL[name], parameters)
                    return await cursor.fetchall() if cursor.description else []
        except (psycopg.Error, TimeoutError) as error:
            await self._disconnect()
            raise DatabaseUnavailable from error

    async def _disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None


def _live(row: tuple[Any, ...], read_at: float) -> LiveKey:
    key_id, scopes, users, digest, former_digest, seconds, former_seconds = row
    return LiveKey(
        key_id=key_id,
        by=sender(key_id),
        scopes=frozenset(scopes),
        users=None if users is None else frozenset(users),
        digest=digest,
        until=inf if seconds is None else read_at + seconds,
        former_digest=former_digest or _NO_DIGEST,
        former_until=-inf if former_seconds is None else read_at + former_seconds,
    )
