"""Names the server that holds a store, and compares it with the server that the store was on when it was last written.

The name is the server's system identifier and its timeline. A standby has the identifier of its primary, and a new
timeline once it is promoted; a restore to a moment begins a new timeline too, and a store that was dumped and loaded is
on a server of another identifier. A copy of the files that is started as it is keeps both: nothing in the database
tells it from the store that it was taken from.
"""

from typing import Any, Final

import psycopg
import psycopg.errors

from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.recovery", "recovery.sql")

Connection = psycopg.Connection[Any]

_NOT_TOLD: Final = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedFunction,
)
"""The errors of servers that do not tell who they are. On such a server nothing is compared."""


def server_of(connection: Connection) -> str | None:
    """Name the server at the other end; None for one that does not tell. Raises psycopg.Error for a standby.

    Call it outside of a transaction, which an error would end.
    """
    try:
        row = connection.execute(SQL["read_server"]).fetchone()
    except _NOT_TOLD:
        return None
    assert row is not None
    name: str = row[0]
    return name


def noted_server(connection: Connection) -> str | None:
    """Read the name of the server on which the store was last; None in a store that has noted none yet."""
    row = connection.execute(SQL["read_noted"]).fetchone()
    return None if row is None else str(row[0])


def note_server(connection: Connection, server: str | None) -> None:
    """Note the server on which the store is now."""
    if server is not None:
        connection.execute(SQL["note_first"], {"server": server})
        connection.execute(SQL["note"], {"server": server})
