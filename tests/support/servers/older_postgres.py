"""A server of Postgres 16, which the wheel has too."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from api.runtime.embedded_postgres.programs import POSTGRES_VERSION, launch_command, named_user, program
from tests.support.waiting import wait_until


def older_program(name: str) -> str:
    """Give the path of one of its programs."""
    return str(program(name)).replace(f"pginstall{POSTGRES_VERSION}", "pginstall")


@contextmanager
def older_postgres() -> Iterator[str]:
    """Run the server for the length of a block, on a socket in a directory of its own; yields its URL."""
    place = Path(tempfile.mkdtemp(prefix="pg16-"))
    user = named_user() if os.geteuid() == 0 else os.geteuid()
    os.chown(place, user, -1)
    cluster, url = place / "cluster", f"postgresql://postgres@/postgres?host={place}"
    made = [older_program("initdb"), f"--pgdata={cluster}", "--username=postgres", "--auth=trust", "--encoding=UTF8"]
    subprocess.run([*launch_command("wait", user), *made], check=True, stdout=subprocess.DEVNULL)
    served = [older_program("postgres"), "-D", str(cluster), "-c", f"unix_socket_directories={place}"]
    server = subprocess.Popen([*launch_command("wait", user), *served, "-c", "listen_addresses="])
    try:
        wait_until(lambda: _answers(url))
        yield url
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(place)


def _answers(url: str) -> bool:
    with suppress(psycopg.OperationalError), psycopg.connect(url):
        return True
    return False
