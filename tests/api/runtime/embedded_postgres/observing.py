"""How the tests of the embedded Postgres look at its processes, its socket and its data."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg

from api.runtime.embedded_postgres.os_processes import command_of, process_numbers

CHECKOUT = Path(__file__).parents[4]


def until(what: Callable[[], bool], *, seconds: float = 10) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)


def ask(url: str, query: str) -> object:
    """Return the one value of a query's result."""
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
    return row and row[0]


def write(url: str, statement: str) -> None:
    """Run a statement and commit it."""
    with psycopg.connect(url) as connection:
        connection.execute(statement.encode())


def processes_of(data_dir: Path) -> list[int]:
    """List the server's processes by its name, which their command lines contain."""
    postmaster = (data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0]
    name = command_of(int(postmaster)).partition("cluster_name=")[2].split()[0]
    return [number for number in process_numbers() if name in command_of(number)]


def postmaster_of(data_dir: Path) -> int:
    """Return the id of the server's first process."""
    return int((data_dir / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0])


def socket_directory_of(url: str) -> Path:
    """Return the directory of a URL's socket."""
    return Path(parse_qs(urlsplit(url).query)["host"][0])
