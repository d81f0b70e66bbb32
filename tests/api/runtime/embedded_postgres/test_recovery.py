"""The embedded Postgres starts again after a crash, after SIGKILL, and beside a half-made cluster."""

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest

from api.runtime.embedded_postgres.os_processes import command_of, is_locked
from api.runtime.embedded_postgres.programs import NoDataDirectory
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.api.runtime.embedded_postgres.observing import (
    CHECKOUT,
    ask,
    postmaster_of,
    processes_of,
    socket_directory_of,
    until,
    write,
)


def test_a_killed_postmaster_is_started_again_under_the_same_url(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The death is noticed, and all remaining processes, busy ones too, have ended before the next server starts."""
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


def test_a_reused_process_id_does_not_prevent_a_start(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """After everything was killed, the id in the pid file may be that of another process of the same user."""
    url = server.start()
    write(url, "CREATE TABLE kept AS SELECT 42 AS answer")
    for number in processes_of(tmp_path / "a ledger"):
        with suppress(ProcessLookupError):  # when the first one ends, the others end too
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
    """If only the service is killed, Postgres keeps running. The next run joins it and stops it at the end."""
    program = (
        "import sys, time; from pathlib import Path; from api.runtime.embedded_postgres.server import EmbeddedPostgres;"
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


def test_a_half_made_cluster_is_created_again(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """The initdb works in a directory beside the cluster's place, so the remains of a killed one are removed."""
    half_made = tmp_path / "a ledger" / "postgres" / "new-half-made"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")
    with pytest.raises(NoDataDirectory):
        EmbeddedPostgres(tmp_path / "a ledger").start()

    assert ask(server.start(), "SELECT 1") == 1

    assert not half_made.exists()


def test_a_stop_succeeds_although_the_data_directory_was_removed(tmp_path: Path) -> None:
    """A stop does not fail if the directory was removed."""
    server = EmbeddedPostgres(tmp_path / "var", create=True)
    url = server.start()
    postmaster = postmaster_of(tmp_path / "var")
    (tmp_path / "var").rename(tmp_path / "away")

    server.stop()

    os.kill(postmaster, signal.SIGINT)
    until(lambda: not command_of(postmaster))
    socket_directory_of(url).rmdir()
