"""The embedded Postgres in a world of others: removed files, symbolic links, and variables of another server."""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from api.runtime.embedded_postgres.keeping import POSTGRES_LOOK_SECONDS, keep_running
from api.runtime.embedded_postgres.os_processes import command_of, open_lock
from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.runtime.readiness import beating_part_ready
from api.settings import Settings
from ledger.store.database import Database
from ledger.store.heartbeats import Heartbeat, new_instance
from ledger.store.migrate import migrate
from projections.models.registry import FOLLOWERS
from tests.api.runtime.embedded_postgres.observing import ask, postmaster_of, socket_directory_of, write

HOME = Path("a ledger/postgres")


@pytest.mark.parametrize("name", ["alive", "users", "lock", "socket", "log"])
def test_a_removed_file_does_not_harm_a_living_server(server: EmbeddedPostgres, tmp_path: Path, name: str) -> None:
    """No second server is started on its data, and its pid file and socket stay."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postmaster = postmaster_of(tmp_path / "a ledger")
    (tmp_path / HOME / name).unlink()

    server.stay_user()
    assert server.is_running()
    assert server.ensure_running() == url
    with EmbeddedPostgres(tmp_path / "a ledger") as other_url:
        assert other_url == url
        assert ask(url, "SELECT answer FROM kept") == 42

    assert postmaster_of(tmp_path / "a ledger") == postmaster


@pytest.mark.parametrize("name", ["alive", "users"])
def test_a_server_whose_file_was_removed_is_stopped_by_its_last_user(
    server: EmbeddedPostgres, tmp_path: Path, name: str
) -> None:
    """The stop waits for its end, and the next start has the same data."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    postmaster = postmaster_of(tmp_path / "a ledger")
    (tmp_path / HOME / name).unlink()

    server.stay_user()
    server.stop()

    assert not command_of(postmaster)
    assert not server.is_running()
    assert ask(server.start(), "SELECT answer FROM kept") == 42


def test_a_user_stays_one_when_the_file_of_the_users_is_removed(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Otherwise the next user who leaves would stop the server."""
    url = server.start()
    postmaster = postmaster_of(tmp_path / "a ledger")
    (tmp_path / HOME / "users").unlink()

    server.stay_user()
    with EmbeddedPostgres(tmp_path / "a ledger"):
        pass

    assert postmaster_of(tmp_path / "a ledger") == postmaster
    assert ask(url, "SELECT 1") == 1


def test_one_directory_is_one_server_by_whatever_link_it_is_reached(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Neither waits for the other, and they share the server."""
    url = server.start()
    link, further = tmp_path / "link", tmp_path / "further"
    link.symlink_to(tmp_path / "a ledger")
    further.symlink_to(link)

    for data_dir in (link, further, tmp_path / "a ledger" / ".." / "link"):
        linked = EmbeddedPostgres(data_dir)
        assert linked.is_running()
        with linked as same_url:
            assert same_url == url

    assert server.is_running()


def test_a_directory_behind_a_link_may_be_new(tmp_path: Path) -> None:
    """`LEDGER_DATA_DIR` may be a link to a larger disk."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "var").symlink_to(tmp_path / "disk" / "ledger")

    with EmbeddedPostgres(tmp_path / "var", create=True) as url:
        assert ask(url, "SELECT 1") == 1

    assert (tmp_path / "disk" / "ledger" / "postgres" / "cluster").is_dir()


def test_a_removed_socket_directory_is_made_again_under_the_same_url(server: EmbeddedPostgres) -> None:
    """Programs that tidy up temporary files remove it. The parts of the service know only the old URL."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    shutil.rmtree(socket_directory_of(url))
    assert not server.is_running()

    again = server.ensure_running()

    assert again == url
    assert server.is_running()
    assert socket_directory_of(url).stat().st_mode & 0o777 == 0o700
    assert ask(url, "SELECT answer FROM kept") == 42


def test_the_service_notices_a_removed_socket_by_itself(server: EmbeddedPostgres) -> None:
    """Nobody has to restart it."""
    url = server.start()
    shutil.rmtree(socket_directory_of(url))

    asyncio.run(asyncio.wait_for(keep_until(server.is_running, server), 60))

    assert ask(url, "SELECT 1") == 1


def test_the_service_looks_again_after_a_look_that_failed(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Otherwise nobody would start the server again."""
    url = server.start()
    shutil.rmtree(socket_directory_of(url))
    lock = tmp_path / HOME / "lock"
    lock.unlink()
    lock.mkdir()

    async def give_the_lock_back() -> None:
        await asyncio.sleep(3 * POSTGRES_LOOK_SECONDS)
        lock.rmdir()

    async def keep() -> None:
        await asyncio.gather(give_the_lock_back(), keep_until(server.is_running, server))

    asyncio.run(asyncio.wait_for(keep(), 60))

    assert ask(url, "SELECT 1") == 1


def test_the_service_goes_on_while_it_waits_for_another_user(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The other one holds the lock while it stops the server, which takes seconds."""
    server.start()
    users = tmp_path / HOME / "users"
    users.unlink()
    other = open_lock(users)
    fcntl.flock(other, fcntl.LOCK_EX)

    released = asyncio.Event()

    async def let_go() -> None:
        await asyncio.sleep(3 * POSTGRES_LOOK_SECONDS)
        os.close(other)
        released.set()

    async def keep() -> None:
        await asyncio.gather(let_go(), keep_until(lambda: released.is_set() and is_held(users), server))

    asyncio.run(asyncio.wait_for(keep(), 60))

    assert server.is_running()


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a lock, alone or together with others."""
    descriptor = open_lock(path)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


async def keep_until(condition: Callable[[], bool], server: EmbeddedPostgres) -> None:
    """Keep the server running until a condition holds."""
    keeping = asyncio.create_task(keep_running(server))
    while not condition():
        assert not keeping.done()
        await asyncio.sleep(0.05)
    keeping.cancel()
    with suppress(asyncio.CancelledError):
        await keeping


def test_a_process_that_never_saw_the_socket_leaves_the_server_alone(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """It may have a temporary directory of its own, as under systemd, and the service uses the server."""
    url = server.start()
    postmaster = postmaster_of(tmp_path / "a ledger")
    with psycopg.connect(url) as connected:
        shutil.rmtree(socket_directory_of(url))

        with pytest.raises(EmbeddedPostgresFailed, match="its socket is not in"):
            EmbeddedPostgres(tmp_path / "a ledger").start()

        assert postmaster_of(tmp_path / "a ledger") == postmaster
        assert connected.execute("SELECT 1").fetchone() == (1,)


LIBPQ = {
    "PGHOST": "203.0.113.1",
    "PGHOSTADDR": "203.0.113.1",
    "PGPORT": "1",
    "PGUSER": "somebody",
    "PGDATABASE": "elsewhere",
    "PGSERVICE": "no-such-service",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "somebody",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
    "PGOPTIONS": "-c search_path=elsewhere",
    "PGCONNECT_TIMEOUT": "1",
}


def test_variables_of_libpq_lead_nobody_to_another_server(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each alone, and all of them. They may be meant for another Postgres of this machine."""
    for names in (*((name,) for name in LIBPQ), tuple(LIBPQ)):
        for name in names:
            monkeypatch.setenv(name, LIBPQ[name])

        url = server.start()

        assert (names, ask(url, "SELECT current_user::text")) == (names, "postgres")
        assert (names, ask(url, "SHOW search_path")) == (names, '"$user", public')


def test_a_health_check_asks_the_embedded_server(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the health check may name another Postgres."""
    database = Database(server.start(), "ledger")
    migrate(database, followers=FOLLOWERS)
    with database.connect(application="test") as connection:
        Heartbeat("worker", new_instance()).start(connection)
        connection.commit()
    for name, value in LIBPQ.items():
        monkeypatch.setenv(name, value)

    settings = Settings.load({"LEDGER_DATA_DIR": str(tmp_path / "a ledger")})

    assert beating_part_ready("worker", settings)
