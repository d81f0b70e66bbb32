"""Proves that a new session has what it asks for: the role, the schema, and the settings that values depend on.

Settings are asked for as start-up options. A pooler such as pgbouncer may refuse those, or drop them silently: the
session would then work as another role, in another schema. So each new session is asked for its settings. A
missing one is set in the session and read again, and a session that still does not have it is refused.

Settings of a session are worth nothing when a pooler gives a session another server connection for each transaction.
Such a pooler is refused by name, before anything is set in a server connection that others share.

The functions that touch a session are generators: they yield a statement with its parameters and get its first row, so
one text serves sessions of threads and of event loops.
"""

import asyncio
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from typing import Any, Final, LiteralString

import psycopg

from ledger.errors import DatabaseEncodingWrong, PoolerSharesSessions, SessionRefused
from ledger.sessions.answer_limit import answer_within
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "session_proof.sql")

ANSWER_SECONDS_MAX: Final = 5.0

ROUNDS: Final = 5
"""How often two sessions compare their server connections. Others may use a pooler's connections in between."""

UTF8: Final = "UTF8"

Asking = tuple[LiteralString, Mapping[str, Any]]
Proof = Generator[Asking, tuple[Any, ...], None]


def prove(
    connection: psycopg.Connection[Any], wanted: Mapping[str, str], *, connect: Callable[[], psycopg.Connection[Any]]
) -> None:
    """Prove a session of a thread; `connect` opens another one like it, with nothing proved.

    Raises SessionRefused, DatabaseEncodingWrong, PoolerSharesSessions, and psycopg.Error.
    """
    proof = _proof(connection.info.backend_pid, wanted, connect)
    with answer_within(connection, ANSWER_SECONDS_MAX):
        asking: Asking | None = next(proof)
        while asking is not None:
            asking = _go_on(proof, connection.execute(*asking).fetchone())


async def prove_async(
    connection: psycopg.AsyncConnection[Any],
    wanted: Mapping[str, str],
    *,
    connect: Callable[[], psycopg.Connection[Any]],
) -> None:
    """Prove a session of an event loop. Raises as `prove` does.

    The proof goes on in a thread, because it connects to a pooler by itself, which takes as long as the pooler does.
    """
    proof = _proof(connection.info.backend_pid, wanted, connect)
    with answer_within(connection, ANSWER_SECONDS_MAX):
        asking: Asking | None = next(proof)
        while asking is not None:
            row = await (await connection.execute(*asking)).fetchone()
            asking = await asyncio.to_thread(_go_on, proof, row)


def _go_on(proof: Proof, row: tuple[Any, ...] | None) -> Asking | None:
    """Give a proof the row that it asked for. Returns its next statement, and None at its end."""
    assert row is not None
    try:
        return proof.send(row)
    except StopIteration:
        return None


def _proof(told_pid: int, wanted: Mapping[str, str], connect: Callable[[], psycopg.Connection[Any]]) -> Proof:
    names = list(wanted)
    reading: Asking = (SQL["read_in_force"], {"names": names})
    pid, encoding, found = yield reading
    if encoding != UTF8:
        raise DatabaseEncodingWrong(encoding=encoding)
    if found == list(wanted.values()):
        return
    if pid != told_pid:
        ensure_sessions_of_their_own(connect)
    (meant,) = yield SQL["put_in_force"], {"names": names, "values": list(wanted.values())}
    pid_after, _, found = yield reading
    for name, wish, has in zip(names, meant, found, strict=True):
        if has != wish:
            raise SessionRefused(setting=name, wanted=wish, found=str(has))
    if pid_after != pid:
        raise PoolerSharesSessions


def ensure_sessions_of_their_own(connect: Callable[[], psycopg.Connection[Any]]) -> None:
    """Refuse a pooler that gives two sessions one server connection, or one session two.

    It is recognised by the server's process ids. A pooler tells its clients other ids than the server's, so a direct
    connection is known at once. Raises PoolerSharesSessions, and psycopg.Error.
    """
    with closing(connect()) as first, answer_within(first, ANSWER_SECONDS_MAX):
        if (own := _pid(first)) == first.info.backend_pid:
            return
        with closing(connect()) as second, answer_within(second, ANSWER_SECONDS_MAX):
            for _ in range(ROUNDS):
                if _pid(second) == own or _pid(first) != own:
                    raise PoolerSharesSessions


def _pid(connection: psycopg.Connection[Any]) -> int:
    row = connection.execute(SQL["read_pid"]).fetchone()
    assert row is not None
    return int(row[0])
