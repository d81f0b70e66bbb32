"""How an operator's command gets at the ledger."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg

from api.cli.command import EXIT_UNHEALTHY, EXIT_USAGE, check_partitions, fail, settings_for
from api.runtime.database import opened, place, wait_for
from api.runtime.logs import configure_logs
from api.settings import Settings
from ledger.partition.identities import check_identities
from ledger.partition.partition import Partition, Partitions
from ledger.store.migrate import check_schema

_WAIT_SECONDS: Final = 3.0


@contextmanager
def ledger_for(command: str, *, even_if_away: bool = False) -> Iterator[tuple[Settings, Partitions]]:
    """Give a ledger that exists and has the form that this program needs, and do not wait long for it.

    With `even_if_away`, one of several partitions may be away, and the command says so itself.
    """
    settings = settings_for(command)
    configure_logs("error", part=command)
    with opened(settings) as (partitions, _):
        are_there = True
        for partition in partitions:
            try:
                wait_for(partition.database, seconds=_WAIT_SECONDS)
            except psycopg.OperationalError as error:
                if even_if_away and len(partitions) > 1:
                    are_there = False
                    continue
                fail(f"The database at {place(partition.database)} cannot be reached: {error}", EXIT_UNHEALTHY)
            check_schema(partition.database)
        if are_there:
            check_identities(partitions)
        yield settings, partitions


def chosen(partitions: Partitions, number: int | None) -> Partition:
    """Return the partition that a command is for, which is named where there are several.

    Ends the program when none is named then, and when there is none of this number.
    """
    if number is None and len(partitions) > 1:
        fail(
            f"The ledger has {len(partitions)} partitions: name the one that is meant, with --partition from 0 to"
            f" {len(partitions) - 1}.",
            EXIT_USAGE,
        )
    check_partitions([number or 0], len(partitions))
    return partitions.serving([number or 0]).served[0]
