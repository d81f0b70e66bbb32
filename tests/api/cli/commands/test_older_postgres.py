"""A Postgres that is too old is named with both versions, before anything on it is touched."""

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ledger.errors import PostgresTooOld
from ledger.recovery.recover import SESSION
from ledger.store.database import Database
from ledger.store.migrate import check_schema, migrate
from tests.api.cli.shell import Shell
from tests.support.servers.clusters import run
from tests.support.servers.older_postgres import older_postgres


@pytest.fixture(scope="module")
def older() -> Iterator[str]:
    """Yield the URL of a Postgres 16."""
    with older_postgres() as url:
        yield url


def untouched(url: str) -> bool:
    roles = run(url, "SELECT count(*) FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%'")
    return (roles, run(url, "SELECT to_regnamespace('ledger') IS NULL")) == ([(1,)], [(True,)])


@pytest.mark.parametrize("command", ["migrate", "serve", "api", "worker", "projector", "status", "backup x"])
def test_every_command_names_both_versions(older: str, tmp_path: Path, command: str) -> None:
    """The exit code is 1, and no schema and no role is left behind."""
    ended = Shell(tmp_path, DATABASE_URL=older, DEMO_GATEWAY="true").run(*command.split())

    assert ended.returncode == 1, ended.stderr
    assert "16." in ended.stderr
    assert "18" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert untouched(older)


def test_a_program_is_refused_the_same_way(older: str) -> None:
    """The error has the versions as facts."""
    for step in (migrate, check_schema):
        with pytest.raises(PostgresTooOld) as refused:
            step(Database(older))
        assert (refused.value.found[:3], refused.value.needed) == ("16.", "18")
    assert untouched(older)


def test_postgres_16_lacks_a_setting_that_every_writer_needs(older: str) -> None:
    """So 16 cannot be served: without the limit, a session that stalls would hold the head for ever."""
    assert "transaction_timeout" in SESSION
    with psycopg.connect(older, autocommit=True) as connection, pytest.raises(psycopg.errors.UndefinedObject):
        connection.execute("SELECT set_config('transaction_timeout', '5s', true)")
