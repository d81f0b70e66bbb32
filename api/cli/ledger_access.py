"""How an operator's command gets at the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from api.cli.command import EXIT_UNHEALTHY, fail, settings_for
from api.runtime.database import opened, place, wait_for
from api.runtime.logs import configure_logs
from api.settings import Settings
from ledger.partition.identities import check_identities
from ledger.partition.partition import Partitions
from ledger.store.migrate import check_schema

_WAIT_SECONDS: Final = 3.0


@contextmanager
def ledger_for(command: str) -> Iterator[tuple[Settings, Partitions]]:
    """Give a ledger that exists and has the form that this program needs, and do not wait long for it."""
    settings = settings_for(command)
    configure_logs("error", part=command)
    with opened(settings) as (partitions, _):
        for partition in partitions:
            try:
                wait_for(partition.database, seconds=_WAIT_SECONDS)
            except psycopg.OperationalError as error:
                fail(f"The database at {place(partition.database)} cannot be reached: {error}", EXIT_UNHEALTHY)
            check_schema(partition.database)
        check_identities(partitions)
        yield settings, partitions
