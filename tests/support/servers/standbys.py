"""A standby that is away: each COMMIT waits for it, and somebody cancels the waits."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg

from ledger.store.database import Database


@contextmanager
def without_its_standby(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Let each COMMIT wait for a standby that does not exist."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        owner.execute("SELECT pg_reload_conf()")
        try:
            wait_until_commits_wait(database, owner)
            yield owner
        finally:
            bring_back(owner)


def wait_until_commits_wait(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Commit until a COMMIT waits: the server takes a new configuration a while after it was told to."""
    with (
        closing(database.connect(application="test, commits", owner=True)) as committing,
        ThreadPoolExecutor(1) as executor,
    ):
        until = time.monotonic() + 30
        while time.monotonic() < until:
            commit = executor.submit(committing.execute, "SELECT pg_logical_emit_message(true, 'test', '')")
            while not commit.done():
                if cancel_waits(owner, "pg_cancel_backend", application="test, commits"):
                    return
    raise AssertionError("the server does not take its new configuration")


def bring_back(owner: psycopg.Connection[Any]) -> None:
    """Let no COMMIT wait any more, as when the standby is there again and has everything."""
    owner.execute("ALTER SYSTEM RESET synchronous_standby_names")
    owner.execute("SELECT pg_reload_conf()")


def cancel_the_wait(owner: psycopg.Connection[Any], function: str, *, application: str) -> None:
    """Cancel the wait for the standby of an application's session."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        if cancel_waits(owner, function, application=application):
            return
    raise AssertionError("no session waits for its standby")


def cancel_waits(owner: psycopg.Connection[Any], function: str, *, application: str) -> bool:
    """Cancel the waits for the standby of an application's sessions; tell whether there were any."""
    statement = f"SELECT {function}(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = %s"
    return bool(owner.execute(statement, [application]).fetchall())
