"""Stores written by earlier versions of the program, as files: their tables as SQL, and their exported logs."""

import gzip
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from ledger.store.database import Database
from tests.support.databases import remove

HERE: Final = Path(__file__).parent

BEFORE_THE_ROOMS: Final = "before_the_rooms"
"""Version 0.1.0 before its modules moved: the events of `tests.support.ledgers.busy.fill` and their read models."""


@contextmanager
def stored(url: str, name: str) -> Iterator[Database]:
    """Restore a store in a schema of its own, without the grants to its role."""
    database = Database(url, f"test_{uuid4().hex[:16]}")
    tables = gzip.decompress((HERE / f"{name}.sql.gz").read_bytes()).decode().replace(name, database.schema)
    try:
        with closing(database.connect(application="test", owner=True)) as connection:
            connection.execute(tables.encode())
        yield database
    finally:
        remove(database)


def exported(name: str) -> bytes:
    """The log as the same version exported it."""
    return gzip.decompress((HERE / f"{name}.ndjson.gz").read_bytes())
