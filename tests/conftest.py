"""What all tests share: one real Postgres for the whole run, however many workers it has.

The server is the embedded one, with its durable settings, in memory where there is room for it. Whoever needs it first
starts it and the last one stops it, as with any data directory; the run's first process removes the directory.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from api.embedded_postgres import EmbeddedPostgres
from api.processes import is_locked, open_lock

_DIRECTORY_NAME: Final = "PAYMENT_LEDGER_TEST_DIRECTORY"  # tells the workers what their controller has made
_PREFIX: Final = "payment-ledger-tests-"
_BYTES_WANTED: Final = 2 * 1024**3
_TESTS_A_CORE: Final = 2  # a third of a run is waiting: for a part to start, a lease to run out, a slow answer
_run_lock = pytest.StashKey[int]()


def pytest_xdist_auto_num_workers() -> int:
    """Say how many tests `-n auto` runs at a time, so that one works while another waits."""
    return _TESTS_A_CORE * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Make the directory of this run, and clear away those of runs that were killed."""
    if hasattr(config, "workerinput"):
        return
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a private directory of a random name in it
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _BYTES_WANTED
    place = memory if roomy else Path(tempfile.gettempdir())
    for left in place.glob(f"{_PREFIX}*"):
        if left.stat().st_uid == os.geteuid() and not is_locked(left / "run"):
            _remove(left)
    directory = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
    config.stash[_run_lock] = lock = open_lock(directory / "run")
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.environ[_DIRECTORY_NAME] = str(directory)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave nothing behind."""
    lock = config.stash.get(_run_lock, None)
    if lock is not None:
        os.close(lock)
        _remove(Path(os.environ.pop(_DIRECTORY_NAME)))


def _remove(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    if server.is_running():
        with server:
            pass  # the last user who leaves stops it
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Give the URL of the run's Postgres, as its superuser."""
    with EmbeddedPostgres(Path(os.environ[_DIRECTORY_NAME]), create=True) as url:
        yield url
