"""Finds the database that a command uses, and prepares it.

With `DATABASE_URL` set, it is that database. Otherwise it is the embedded Postgres of the data directory, which runs as
long as a process uses it.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import Final
from uuid import UUID

import psycopg
import stamina
import structlog
from psycopg.conninfo import conninfo_to_dict

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.settings import Settings
from ledger.export.retire import check_not_retired
from ledger.partition.identities import check_before_new, check_identities, group_of
from ledger.partition.partition import Partition, Partitions
from ledger.store.database import Database
from ledger.store.heartbeats import FRESH
from ledger.store.migrate import check_durability, check_schema, check_version, migrate
from ledger.store.migrations.older_parts import PARTS, OlderPartsAlive
from projections.models.registry import FOLLOWERS

WAIT_SECONDS: Final = 60.0
"""How long a part waits for a database that starts later than the part."""

OLDER_PARTS_SECONDS: Final = FRESH.total_seconds() + 2.0
"""How long a migration waits for parts of an older program to stop. Then a heartbeat that a killed part left is old."""

_log = structlog.get_logger()


@contextmanager
def opened(settings: Settings, *, create: bool = False) -> Iterator[tuple[Partitions, EmbeddedPostgres | None]]:
    """Yield the partitions and, if embedded, their Postgres. With `create`, a data directory is made.

    Raises NoDataDirectory, EmbeddedPostgresFailed.
    """
    if settings.database_url is not None:
        yield partitions_of(settings, settings.database_url), None
    else:
        postgres = EmbeddedPostgres(settings.data_dir, create=create, wal_archive=settings.wal_archive_dir)
        with postgres as url:
            if create:
                settings.noted_heads_folder.mkdir(mode=0o700, exist_ok=True)
            yield partitions_of(settings, url), postgres


def partitions_of(settings: Settings, url: str) -> Partitions:
    """Return the ledger's partitions as the settings name them; `url` is for those without a URL of their own."""
    urls = settings.partition_urls or (url,)
    each = urls if len(urls) == settings.partitions else urls * settings.partitions
    return Partitions.over([Database(one, settings.schema, settings.admin_url) for one in each])


def migrate_all(
    partitions: Partitions,
    *,
    parts: Collection[str] = PARTS,
    regardless: bool = False,
    stop_seconds: float = OLDER_PARTS_SECONDS,
) -> list[str]:
    """Bring the schemas of all partitions up to date, read models too; the migrations that were applied to any.

    Parts of an older program have `stop_seconds` to stop, unless it is done `regardless` of them; `parts` are those
    that will run. Raises OlderPartsAlive, and PartitionsDiffer where the ledger has another number of partitions.
    """
    check_before_new(partitions)
    applied = []
    for partition in partitions:
        for attempt in stamina.retry_context(
            on=OlderPartsAlive, attempts=None, timeout=stop_seconds, wait_initial=0.5, wait_max=0.5, wait_jitter=0.0
        ):
            with attempt:
                applied += _migrate_one(
                    partition,
                    parts,
                    regardless=regardless,
                    is_first=attempt.num == 1,
                    group_id=group_of(partitions) if partition.number else None,
                )
    check_identities(partitions)
    return sorted(set(applied))


def _migrate_one(
    partition: Partition, parts: Collection[str], *, regardless: bool, is_first: bool, group_id: UUID | None
) -> list[str]:
    try:
        return migrate(
            partition.database,
            followers=FOLLOWERS,
            parts=parts,
            regardless=regardless,
            slots=partition.slots,
            group_id=group_id,
        )
    except OlderPartsAlive as alive:
        if is_first:
            _log.warning("waiting_for_older_parts", alive=alive.alive, at_most_seconds=OLDER_PARTS_SECONDS)
        raise


def prepare(settings: Settings, partitions: Partitions, parts: Collection[str] = PARTS) -> list[str]:
    """Wait for the database; with AUTO_CREATE_TABLES, migrate it, and return the names of the applied migrations.

    `parts` are those that will run. Raises psycopg.OperationalError when it cannot be reached within WAIT_SECONDS, and
    StoreBroken for a wrong schema and for a store that another one has succeeded.
    """
    for partition in partitions:
        wait_for(partition.database)
        if not settings.allow_loss_of_commits:
            check_durability(partition.database)
    applied = migrate_all(partitions, parts=parts) if settings.auto_create_tables else []
    for partition in partitions:
        if not settings.auto_create_tables:
            check_schema(partition.database, parts)
        check_not_retired(partition.database)
    check_identities(partitions)
    return applied


def wait_for(database: Database, *, seconds: float = WAIT_SECONDS) -> None:
    """Wait until the database accepts a connection, and prove that its sessions can be used.

    Raises psycopg.OperationalError after `seconds`, or at once when the server refuses the user, and StoreBroken for
    a server that is too old and for sessions without the settings that they ask for.
    """
    for attempt in stamina.retry_context(
        on=_may_pass, attempts=None, timeout=seconds, wait_initial=0.1, wait_max=1.0, wait_jitter=0.1
    ):
        with attempt:
            try:
                with closing(database.connect(application="payment-ledger", owner=True)) as connection:
                    check_version(connection)
                database.ensure_sessions_of_their_own()
            except psycopg.OperationalError as error:
                if attempt.num == 1 and _may_pass(error):
                    _log.warning("waiting_for_database", place=place(database), at_most_seconds=seconds, why=str(error))
                raise


_REFUSALS: Final = re.compile(
    r"authentication failed|no password supplied|no pg_hba\.conf entry|not permitted to log in"
)
"""How servers and poolers refuse a user. libpq tells no SQLSTATE of an error while connecting, only this text.

A server that says it in another language is tried again, like one that is down.
"""


def _may_pass(error: Exception) -> bool:
    """Whether a failure to connect may pass by itself; a wrong password does not."""
    return isinstance(error, psycopg.OperationalError) and _REFUSALS.search(str(error)) is None


def place(database: Database) -> str:
    """Return host, port and name of a database, without user and password."""
    given = conninfo_to_dict(database.url)
    where = given.get("host") or given.get("hostaddr") or "localhost"
    return f"{where}:{given.get('port') or 5432}/{given.get('dbname') or given.get('user') or ''}"
