"""All tests share one real Postgres for the whole run, however many workers there are.

The server is the embedded one, with its durable settings. It runs in memory if there is room for it. The first test
that needs it starts it and the last one stops it, as with any data directory; the run's first process removes the
directory.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from api.runtime.embedded_postgres.os_processes import is_locked, open_lock
from api.runtime.embedded_postgres.server import EmbeddedPostgres

_DIRECTORY_NAME: Final = "PAYMENT_LEDGER_TEST_DIRECTORY"  # the controller passes it to the workers
_PREFIX: Final = "payment-ledger-tests-"
_BYTES_WANTED: Final = 2 * 1024**3
_TESTS_A_CORE: Final = 2  # a third of a run is waiting: for a process, a lease, a slow response
_run_lock = pytest.StashKey[int]()


def pytest_xdist_auto_num_workers() -> int:
    """Set how many tests `-n auto` runs at a time, so that one test works while another waits."""
    return _TESTS_A_CORE * (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Create the directory of this run, and remove those of runs that were killed."""
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
    """Remove the run's directory."""
    lock = config.stash.get(_run_lock, None)
    if lock is not None:
        os.close(lock)
        _remove(Path(os.environ.pop(_DIRECTORY_NAME)))


def _remove(directory: Path) -> None:
    server = EmbeddedPostgres(directory)
    if server.is_running():
        with server:
            pass  # leaving the block as the last user stops the server
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, which is what the service runs on."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """Yield the URL of the run's Postgres, as its superuser."""
    with EmbeddedPostgres(Path(os.environ[_DIRECTORY_NAME]), create=True) as url:
        yield url


@pytest.fixture(scope="session", autouse=True)
def gateway_keys_without_salt() -> Iterator[None]:
    """Let the writers of the tests' own process give gateway keys that a test can spell, such as `payment-1`.

    The processes of a service give keys with their salt; `tests/ledger/writer/test_gateway_keys.py` has them here too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ledger.writer.batch_view.new_key_salt", lambda: "")
        yield
