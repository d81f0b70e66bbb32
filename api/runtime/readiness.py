"""Tells whether a worker or projector that runs on this machine is ready; quick, for health checks ask often.

They leave heartbeats in the database, named after host and process, so that one that is alive elsewhere does not count.
The API and the demo gateway are asked over HTTP (`http_readiness`).
"""

import socket
from collections.abc import Collection
from contextlib import closing, nullcontext
from typing import Final

import psycopg

from api.runtime.database import partitions_of
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings
from ledger.errors import StoreBroken
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.store.heartbeats import FRESH
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.runtime", "readiness.sql")


def beating_part_ready(part: str, settings: Settings, *, served: Collection[int] = ()) -> bool:
    """Tell whether a worker or projector of this machine is alive in the partitions that it serves, by default all."""
    if settings.database_url is not None:
        return heartbeats_fresh(part, partitions_of(settings, settings.database_url).serving(served))
    # Do not start a stopped Postgres for this: no part uses it.
    postgres = EmbeddedPostgres(settings.data_dir, wal_archive=settings.wal_archive_dir)
    with postgres if postgres.is_running() else nullcontext() as url:
        return url is not None and heartbeats_fresh(part, partitions_of(settings, url).serving(served))


def heartbeats_fresh(part: str, partitions: Partitions, *, process: int | None = None) -> bool:
    """Tell whether a worker or projector of this machine, or one process of it, is alive in all that it serves."""
    return all(heartbeat_fresh(part, partition.database, process=process) for partition in partitions.served)


def heartbeat_fresh(part: str, database: Database, *, process: int | None = None) -> bool:
    """Tell whether a worker or projector of this machine is alive, or one process of it."""
    host = socket.gethostname()
    try:
        with closing(database.connect(application="payment-ledger ready")) as connection:
            rows = connection.execute(SQL["read_alive"], {"part": part, "fresh": FRESH}).fetchall()
    except (psycopg.Error, StoreBroken):
        return False
    alive = [str(instance).rsplit("-", 2) for (instance,) in rows]
    return any(name[0] == host and process in {None, int(name[1])} for name in alive)
