"""A small ledger on a server of its own that archives its WAL, and a back-up of it."""

from pathlib import Path
from typing import NamedTuple

import pytest

from api.backups.take import Backup, take_backup
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.store.database import Database
from ledger.store.migrate import migrate
from ledger.writer.writer import Writer
from projections.models.registry import FOLLOWERS
from tests.support.ledgers.busy import fill
from tests.support.servers.clusters import run, wait_until


class Kept(NamedTuple):
    """The back-up of a ledger that has events, and the archive of its server, which has stopped."""

    directory: Path
    archive: Path
    taken: Backup


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    """Give a back-up, and an archive whose name needs care in a shell and in Postgres."""
    place = tmp_path_factory.mktemp("kept")
    archive = place / "it's 50% off"
    with EmbeddedPostgres(place / "var", create=True, wal_archive=archive) as url:
        database = Database(url)
        migrate(database, followers=FOLLOWERS)
        writer = Writer(database)
        writer.start()
        fill(writer)
        writer.stop()
        taken = take_backup(database, place / "back-up")
        run(url, "CREATE TABLE written_after_the_back_up ()")
        ((segment,),) = run(url, "SELECT pg_walfile_name(pg_switch_wal())")
        wait_until(url, f"SELECT last_archived_wal >= '{segment}' FROM pg_stat_archiver")
    return Kept(directory=place / "back-up", archive=archive, taken=taken)
