"""A start looks at its database: who may log in, what the server keeps, and where administration goes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from api.runtime.database import opened, prepare, wait_for
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.runtime.embedded_postgres.server_settings import SERVER_SETTINGS
from api.settings import Settings, SettingsError
from ledger.audit.verify import verify_seals
from ledger.errors import DatabaseNotDurable
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.store.migrate import check_schema, migrate
from projections.engine.rebuild import rebuild
from projections.models.registry import FOLLOWERS
from tests.support.databases import fresh_database, fresh_ledger

NOWHERE = "postgresql://postgres@/postgres?host=/nowhere"


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """The URL of a server that asks for a password, with a wrong one."""
    with EmbeddedPostgres(tmp_path, create=True) as url, psycopg.connect(url, autocommit=True) as owner:
        (hba_file,) = owner.execute("SHOW hba_file").fetchall()[0]
        before = Path(hba_file).read_text("utf-8")
        owner.execute("CREATE ROLE stranger LOGIN PASSWORD 'right'")
        Path(hba_file).write_text(f"local all stranger scram-sha-256\n{before}", "utf-8")
        owner.execute("SELECT pg_reload_conf()")
        yield make_conninfo(url, user="stranger", password="wrong")


def test_a_wrong_password_ends_the_start_after_one_try(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not become right by waiting, and some servers lock a user out."""
    tries = []
    real = psycopg.connect

    def counted(*args: object, **kwargs: object) -> object:
        tries.append(args)
        return real(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(psycopg, "connect", counted)

    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        wait_for(Database(guarded), seconds=5)

    assert len(tries) == 1


def test_a_server_that_is_down_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may start later than the service."""
    tries = []

    def counted(*args: object, **_: object) -> object:
        tries.append(args)
        raise psycopg.OperationalError("connection refused")

    monkeypatch.setattr(psycopg, "connect", counted)

    with pytest.raises(psycopg.OperationalError):
        wait_for(Database(NOWHERE), seconds=1)

    assert len(tries) > 2


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes", "synchronous_commit"])
def test_a_server_that_may_lose_commits_is_refused_unless_that_is_allowed(
    tmp_path: Path, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer of 202 means that the payment is on disk."""
    monkeypatch.setitem(SERVER_SETTINGS, setting, "off")
    with EmbeddedPostgres(tmp_path, create=True) as url:
        settings = {"DATABASE_URL": url, "AUTO_CREATE_TABLES": "true"}
        partitions = Partitions.whole(Database(url))

        with pytest.raises(DatabaseNotDurable, match=setting):
            prepare(Settings.load(settings), partitions)
        prepare(Settings.load({**settings, "ALLOW_LOSS_OF_COMMITS": "true"}), partitions)

        check_schema(partitions.only.database)


def test_administration_goes_where_the_setting_says(postgres_url: str) -> None:
    """DDL, rebuilds and whole audits; the data path goes on without it."""
    with fresh_database(postgres_url) as url:
        database = Database(NOWHERE, "ledger", url)
        migrate(database, followers=FOLLOWERS)
        rebuild(database)
        assert verify_seals(database).ok
        with pytest.raises(psycopg.OperationalError):
            check_schema(database)

    with fresh_ledger(postgres_url) as there:
        without_coordinator = Database(there.url, there.schema, NOWHERE)
        check_schema(without_coordinator)
        with closing(without_coordinator.connect(application="test")) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (there.service_role,)
        with pytest.raises(psycopg.OperationalError):
            migrate(without_coordinator)


def test_both_urls_come_from_the_settings(postgres_url: str) -> None:
    """One without the other names no second node."""
    settings = Settings.load({"DATABASE_URL": postgres_url_of(postgres_url), "LEDGER_ADMIN_URL": NOWHERE})
    with opened(settings) as (partitions, _):
        assert partitions.only.database.administration.url == NOWHERE
    with pytest.raises(SettingsError, match="LEDGER_ADMIN_URL needs DATABASE_URL"):
        Settings.load({"LEDGER_ADMIN_URL": NOWHERE})


def postgres_url_of(conninfo: str) -> str:
    """A connection string as a URL."""
    given = conninfo_to_dict(conninfo)
    return f"postgresql://{given['user']}@/{given['dbname']}?host={given['host']}"
