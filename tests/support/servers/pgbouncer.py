"""Debian's pgbouncer in front of the run's Postgres, with sockets and a configuration of its own."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.support.ports import free_port

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
needs_pgbouncer: Final = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer is not installed on this machine")

PoolMode = Literal["session", "transaction", "statement"]
_START_SECONDS: Final = 20.0


@contextmanager
def pgbouncer_before(url: str, *, pool_mode: PoolMode, ignored: str = "options", extra: str = "") -> Iterator[str]:
    """Run a pgbouncer that drops the start-up parameters `ignored`; yields a URL that leads through it."""
    given = conninfo_to_dict(url)
    server = {name: given[name] for name in ("host", "port", "user", "dbname") if given.get(name)}
    with tempfile.TemporaryDirectory(prefix="pgb") as name:
        directory = Path(name)
        port = free_port()
        target = " ".join(f"{key}={value}" for key, value in server.items())
        (directory / "users.txt").write_text(f'"{server.get("user", "postgres")}" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\nledger = {target}\n[pgbouncer]\nlisten_addr =\nlisten_port = {port}\n"
            f"unix_socket_dir = {directory}\nauth_type = trust\nauth_file = {directory / 'users.txt'}\n"
            f"pool_mode = {pool_mode}\nignore_startup_parameters = {ignored}\n{extra}\n"
        )
        owner = Path(str(given["host"])).stat()  # who may connect to the server; pgbouncer refuses to run as root
        if os.geteuid() == 0:
            for path in (directory, *directory.iterdir()):
                os.chown(path, owner.st_uid, owner.st_gid)
        assert PROGRAM is not None
        log = directory / "log"
        with (
            log.open("w") as output,
            subprocess.Popen(
                [PROGRAM, "pgbouncer.ini"],
                cwd=directory,
                stdout=output,
                stderr=output,
                user=owner.st_uid if os.geteuid() == 0 else None,
            ) as process,
        ):
            try:
                _wait_for(directory / f".s.PGSQL.{port}", process, log)
                yield f"postgresql://{server.get('user', 'postgres')}@/ledger?host={directory}&port={port}"
            finally:
                process.terminate()


def _wait_for(path: Path, process: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while not path.exists():
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(log.read_text())
        time.sleep(0.02)
