"""Which database a command works on, and whether it can be worked on.

With a `DATABASE_URL` it is that one. Without, it is the embedded Postgres of the data directory, which is started for
as long as somebody uses it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import psycopg
import stamina
import structlog
from psycopg.conninfo import conninfo_to_dict

from api.embedded_postgres import EmbeddedPostgres
from ledger.database import Database
from ledger.migrate import check_schema, migrate
from ledger.settings import Settings

WAIT_SECONDS: Final = 60.0
"""How long a part waits for a database that comes up later than itself."""

_log = structlog.get_logger()


@contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[tuple[Database, EmbeddedPostgres | None]]:
    """Give the database, and the embedded Postgres that it is in, if so. With `create`, a data directory is made.

    Raises NoDataDirectory, EmbeddedPostgresFailed.
    """
    if settings.database_url is not None:
        yield Database(settings.database_url, settings.schema), None
    else:
        with (postgres := EmbeddedPostgres(settings.data_dir, create=create)) as url:
            yield Database(url, settings.schema), postgres


def prepare(settings: Settings, database: Database) -> list[str]:
    """Wait for the database, and migrate it where that is wished; the migrations that were applied.

    Raises psycopg.OperationalError when it does not come up, and what is wrong with its schema as a StoreBroken.
    """
    wait_for(database)
    if settings.auto_create_tables:
        return migrate(database)
    check_schema(database)
    return []


def wait_for(database: Database, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the database can be connected to. Raises psycopg.OperationalError when that takes too long."""
    for attempt in stamina.retry_context(
        on=psycopg.OperationalError, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=1.0, wait_jitter=0.1
    ):
        with attempt:
            try:
                database.connect(application="payment-ledger", owner=True).close()
            except psycopg.OperationalError as error:
                if attempt.num == 1:
                    _log.warning("waiting_for_database", place=place(database), at_most_seconds=seconds, why=str(error))
                raise


def place(database: Database) -> str:
    """Say where a database is, without what nobody should read."""
    given = conninfo_to_dict(database.url)
    where = given.get("host") or given.get("hostaddr") or "localhost"
    return f"{where}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or ''}"
