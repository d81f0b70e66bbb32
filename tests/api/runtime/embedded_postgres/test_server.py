"""The embedded Postgres is durable, private, and shared by all who use one data directory."""

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from api.runtime.embedded_postgres.os_processes import command_of, is_locked, locked
from api.runtime.embedded_postgres.programs import NoDataDirectory
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.api.runtime.embedded_postgres.observing import ask, postmaster_of, processes_of, socket_directory_of, write


def test_the_first_start_creates_a_server_and_a_stop_leaves_nothing_running(tmp_path: Path) -> None:
    """A machine without Postgres has one within seconds. After the stop no process and no socket is left."""
    data_dir = tmp_path / "var"

    with EmbeddedPostgres(data_dir, create=True) as url:
        version = str(ask(url, "SHOW server_version"))
        processes = processes_of(data_dir)
        sockets = socket_directory_of(url)
        assert sockets.exists()

    assert version.startswith("18.")
    assert not sockets.exists()
    assert processes
    assert not [number for number in processes if command_of(number)]
    assert [entry.name for entry in data_dir.iterdir()] == ["postgres"]


def test_the_server_is_durable_and_private(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Commits are on disk, no port is open, and only the owner can reach the socket and the data."""
    url = server.start()

    settings = {name: ask(url, f"SHOW {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")}
    assert settings == dict.fromkeys(settings, "on")
    assert ask(url, "SHOW data_checksums") == "on"
    assert ask(url, "SHOW listen_addresses") == ""
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert socket_directory_of(url).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a ledger").stat().st_mode & 0o777 == 0o700


def test_data_is_there_again_after_a_stop(server: EmbeddedPostgres) -> None:
    """A later start uses the same data."""
    write(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not server.is_running()

    assert ask(server.start(), "SELECT answer FROM kept") == 42


def test_only_who_may_create_makes_a_data_directory(tmp_path: Path) -> None:
    """A command that only reads reports the missing data directory, and creates none."""
    with pytest.raises(NoDataDirectory) as raised:
        EmbeddedPostgres(tmp_path / "var").start()

    assert str(tmp_path / "var") in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_long_path_and_closed_parent_directories_are_supported(tmp_path: Path) -> None:
    """The socket's path is short whatever the data directory's path is, and the directories stay closed."""
    closed = tmp_path / "closed"
    data_dir = closed / ("a long and winding path " * 4) / ("to the ledger " * 8) / "var"
    data_dir.mkdir(parents=True)
    closed.chmod(0o700)

    with EmbeddedPostgres(data_dir, create=True) as url:
        assert ask(url, "SELECT 1") == 1

    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_last_user_stops_the_server(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The second user joins the running server, which runs until both have left."""
    second = EmbeddedPostgres(tmp_path / "a ledger")

    url = server.start()
    first_postmaster = postmaster_of(tmp_path / "a ledger")
    assert second.start() == url
    server.stop()
    assert second.is_running()
    assert ask(url, "SELECT 1") == 1
    assert postmaster_of(tmp_path / "a ledger") == first_postmaster

    second.stop()
    assert not second.is_running()


def test_starting_and_stopping_twice_is_once(server: EmbeddedPostgres) -> None:
    """A second start or stop by the same user changes nothing."""
    assert server.start() == server.start()

    server.stop()
    server.stop()

    assert not server.is_running()


def test_many_who_start_at_once_share_one_server(tmp_path: Path) -> None:
    """If many parts start at once, initdb and Postgres run once."""
    users = [EmbeddedPostgres(tmp_path / "var", create=True) for _ in range(8)]

    with ThreadPoolExecutor(len(users)) as pool:
        urls = set(pool.map(EmbeddedPostgres.start, users))
        assert len(urls) == 1
        assert ask(urls.pop(), "SELECT 1") == 1
        list(pool.map(EmbeddedPostgres.stop, users))

    assert not users[0].is_running()


def test_two_data_directories_have_two_servers(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Two checkouts side by side do not disturb each other."""
    url = server.start()
    with EmbeddedPostgres(tmp_path / "another", create=True) as other_url:
        write(url, "CREATE TABLE only_here ()")
        assert ask(other_url, "SELECT to_regclass('only_here')") is None

    assert ask(url, "SELECT to_regclass('only_here')::text") == "only_here"


def test_a_socket_directory_that_others_can_enter_is_not_used(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The socket directory of an earlier run is used only if it is private. Otherwise a new one is created."""
    opened = tmp_path / "opened"
    server.start()
    server.stop()
    note = tmp_path / "a ledger" / "postgres" / "socket"
    for directory, mode in ((opened, 0o755), (tmp_path / "gone", None)):
        if mode is not None:
            directory.mkdir()
            directory.chmod(mode)
        note.write_text(str(directory))

        url = server.start()
        assert socket_directory_of(url) != directory
        assert ask(url, "SELECT 1") == 1
        server.stop()


def test_a_temporary_directory_with_a_long_path_is_not_used_for_the_socket(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket's path is limited to about a hundred characters, however long TMPDIR is."""
    long = tmp_path / ("long " * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    assert ask(server.start(), "SELECT 1") == 1


def test_variables_of_another_postgres_are_ignored(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """PGPORT and others may be set for another Postgres."""
    for name, value in (("PGPORT", "not a port"), ("PGDATESTYLE", "Klingon"), ("PGDATA", "/nowhere")):
        monkeypatch.setenv(name, value)

    url = server.start()

    assert ask(url, "SELECT 1") == 1


def test_a_large_log_is_moved_aside(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Nobody maintains the log of an embedded server, so it must not grow without limit."""
    server.start()
    server.stop()
    log = tmp_path / "a ledger" / "postgres" / "log"
    with log.open("a") as file:
        file.write("x" * 5_000_001)

    server.start()

    assert log.stat().st_size < 5_000_000
    assert log.with_suffix(".old").exists()


def test_a_held_lock_is_visible(tmp_path: Path) -> None:
    """Checking neither takes the lock nor disturbs its holder."""
    with locked(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
        assert is_locked(tmp_path / "lock")

    assert not is_locked(tmp_path / "lock")


def test_the_run_s_own_server_answers(postgres_url: str) -> None:
    """The server that all tests share is durable too."""
    assert ask(postgres_url, "SHOW fsync") == "on"
