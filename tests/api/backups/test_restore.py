"""A back-up is restored whole or not at all, and what cannot be restored is refused before anything is touched."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from api.backups.errors import BackupFailed, RestoreFailed
from api.backups.restore import Restored, Target, restore
from api.backups.take import take_backup
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.progress import no_progress
from ledger.store.database import Database
from tests.api.backups.conftest import Kept
from tests.support.servers.clusters import run

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
NEVER = datetime(2099, 1, 1, tzinfo=UTC)


@pytest.fixture
def target(tmp_path: Path) -> Target:
    """Give an empty data directory, without an archive and without a moment."""
    return Target(data_dir=tmp_path / "var", noted_heads=tmp_path / "var/heads", archive=None, moment=None)


def restored(kept: Kept, target: Target) -> Restored:
    return restore(kept.directory, target, skip=None, on_progress=no_progress)


def refusal(kept: Kept, target: Target) -> str:
    with pytest.raises(RestoreFailed) as refused:
        restored(kept, target)
    return str(refused.value)


def has_later_table(target: Target) -> bool:
    with EmbeddedPostgres(target.data_dir) as url:
        return run(url, "SELECT to_regclass('written_after_the_back_up') IS NOT NULL") == [(True,)]


def test_a_back_up_alone_is_restored_to_its_end(kept: Kept, target: Target) -> None:
    """The store is recovered, audited, and on a new timeline, so that the service sees that it was restored."""
    done = restored(kept, target)

    assert (done.audit.ok, done.audit.position) == (True, kept.taken.note.position + 1)
    assert not has_later_table(target)
    with EmbeddedPostgres(target.data_dir) as url:
        assert run(url, "SELECT timeline_id > 1 FROM pg_control_checkpoint()") == [(True,)]
        assert run(url, "SELECT name FROM pg_file_settings WHERE name LIKE 'recovery%' OR name LIKE 'restore%'") == []


def test_a_back_up_is_restored_as_far_as_the_archive_goes(kept: Kept, target: Target) -> None:
    """Without a moment, nothing that was archived is lost."""
    done = restored(kept, msgspec.structs.replace(target, archive=kept.archive))

    assert done.audit.ok
    assert has_later_table(target)


def test_a_moment_needs_an_archive(kept: Kept, target: Target) -> None:
    """The refusal names the setting."""
    assert "WAL_ARCHIVE_DIR" in refusal(kept, msgspec.structs.replace(target, moment=NEVER))
    assert not target.data_dir.exists()


def test_a_moment_needs_archived_wal(kept: Kept, target: Target, tmp_path: Path) -> None:
    """An archive that is empty, or not there, is named."""
    empty = msgspec.structs.replace(target, moment=NEVER, archive=tmp_path / "empty")

    assert str(tmp_path / "empty") in refusal(kept, empty)
    assert not target.data_dir.exists()


def test_a_moment_before_the_end_of_the_back_up_is_refused(kept: Kept, target: Target) -> None:
    """The refusal tells from when on it can be restored."""
    early = msgspec.structs.replace(target, moment=LONG_AGO, archive=kept.archive)

    assert kept.taken.note.ended_at.isoformat() in refusal(kept, early)
    assert not target.data_dir.exists()


def test_a_moment_that_the_archive_does_not_reach_leaves_nothing(kept: Kept, target: Target) -> None:
    """Postgres says that its WAL ended before the moment, and the files are removed again."""
    late = msgspec.structs.replace(target, moment=NEVER, archive=kept.archive)

    assert "recovery ended before configured recovery target was reached" in refusal(kept, late)
    assert not (target.data_dir / "postgres/cluster").exists()


def test_a_data_directory_with_a_ledger_is_refused(kept: Kept, target: Target) -> None:
    """It is left as it is."""
    cluster = target.data_dir / "postgres/cluster"
    cluster.mkdir(parents=True)

    assert str(target.data_dir) in refusal(kept, target)
    assert list(cluster.iterdir()) == []


def test_a_folder_that_is_not_a_back_up_is_refused(kept: Kept, target: Target, tmp_path: Path) -> None:
    """The note is written last, so a back-up that was not finished is refused too."""
    assert "not a whole back-up" in refusal(kept._replace(directory=tmp_path), target)


def test_a_back_up_of_another_postgres_is_refused(kept: Kept, target: Target, tmp_path: Path) -> None:
    """The refusal names both versions."""
    older = msgspec.structs.replace(kept.taken.note, postgres_version=17)
    (tmp_path / "backup.json").write_bytes(msgspec.json.encode(older))

    said = refusal(kept._replace(directory=tmp_path), target)

    assert "Postgres 17" in said
    assert "Postgres 18" in said


def test_a_folder_that_has_something_gets_no_back_up(tmp_path: Path, database: Database) -> None:
    """Nothing in it is touched."""
    (tmp_path / "mine").touch()

    with pytest.raises(BackupFailed, match="not an empty directory"):
        take_backup(database, tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_back_up_that_the_server_refuses_leaves_nothing(tmp_path: Path, database: Database) -> None:
    """As when the user lacks REPLICATION: the reason is the server's own."""
    run(database.url, "CREATE ROLE nobody_in_particular LOGIN")
    run(database.url, f'GRANT USAGE ON SCHEMA "{database.schema}" TO nobody_in_particular')
    run(database.url, f'GRANT SELECT ON ALL TABLES IN SCHEMA "{database.schema}" TO nobody_in_particular')
    try:
        weak = Database(database.url.replace("postgres@", "nobody_in_particular@"), database.schema)
        with pytest.raises(BackupFailed, match="permission denied"):
            take_backup(weak, tmp_path / "back-up")
    finally:
        run(database.url, "DROP OWNED BY nobody_in_particular")
        run(database.url, "DROP ROLE nobody_in_particular")

    assert not (tmp_path / "back-up").exists()
