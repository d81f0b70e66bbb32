"""The run's own Postgres: the embedded one with the settings of `make run`, in a new directory on a disk."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from api.settings import CHECKOUT
from ledger.store.statements import load_statements
from tests.benchmarks.measuring.durability import NotDurable, ensure_on_disk, ensure_server_durable

SQL: Final = load_statements("tests.benchmarks.measuring", "server.sql")


class Server:
    """A running Postgres and its directory, which also holds all other files of the run."""

    def __init__(self, directory: Path, url: str) -> None:
        self.directory = directory
        self.url = url

    @property
    def postmaster(self) -> int:
        """The id of its first process."""
        return int((self.directory / "var/postgres/cluster/postmaster.pid").read_text("utf-8").split("\n")[0])

    def checkpoint(self) -> None:
        """Write a checkpoint, so that each measurement starts from the same state."""
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute(SQL["checkpoint"])

    @contextmanager
    def database(self, name: str) -> Iterator[str]:
        """Create an empty database and drop it afterwards. Yields its URL."""
        name = f"{name}_{secrets.token_hex(4)}"
        with closing(psycopg.connect(self.url, autocommit=True)) as connection:
            connection.execute(sql.SQL(SQL["create_database"]).format(sql.Identifier(name)))
        try:
            yield urlunsplit(urlsplit(self.url)._replace(path=f"/{name}"))
        finally:
            with closing(psycopg.connect(self.url, autocommit=True)) as connection:
                connection.execute(sql.SQL(SQL["drop_database"]).format(sql.Identifier(name)))


@contextmanager
def serving_postgres() -> Iterator[Server]:
    """Run a Postgres for the length of a block, and remove all of it. Raises NotDurable."""
    directory = Path(tempfile.mkdtemp(prefix="payment-ledger-bench-", dir=_place_on_disk()))
    try:
        ensure_on_disk(directory)
        with EmbeddedPostgres(directory / "var", create=True) as url:
            ensure_server_durable(url)
            yield Server(directory, url)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _place_on_disk() -> Path:
    """Choose the first usual place that is on a disk. The last one is the checkout's data directory."""
    for place in (Path(tempfile.gettempdir()), Path("/var/tmp")):  # noqa: S108 - mkdtemp makes a private directory in it
        with suppress(NotDurable):
            ensure_on_disk(place)
            if place.is_dir():
                return place
    own = CHECKOUT / "var"
    own.mkdir(exist_ok=True)
    return own
