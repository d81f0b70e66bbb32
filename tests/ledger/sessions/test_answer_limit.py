"""A server that does not answer is given up, in threads and on event loops, and no other connection is touched."""

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from ledger.outages import LineBudget
from ledger.sessions.answer_limit import answer_within
from tests.support.databases import suspended
from tests.support.waiting import wait_until


def open_files() -> int:
    """Count the open files of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no more files than it has now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.dup(0)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_suspended_server_is_given_up(postgres_url: str) -> None:
    """Its kernel acknowledges every packet, so no time-out of TCP would end the wait."""
    with psycopg.connect(postgres_url, autocommit=True) as connection, suspended(connection.info.backend_pid):
        with pytest.raises(psycopg.OperationalError), answer_within(connection, 0.1):
            connection.execute("SELECT 1")

        assert connection.closed


@pytest.mark.anyio
async def test_an_event_loop_gives_a_suspended_server_up(postgres_url: str) -> None:
    """It goes on with everything else until then."""
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as connection:
        ticking = asyncio.create_task(asyncio.sleep(0.05))
        with (
            suspended(connection.info.backend_pid),
            pytest.raises(psycopg.OperationalError),
            answer_within(connection, 0.1),
        ):
            await connection.execute("SELECT 1")

        assert ticking.done()
        assert connection.closed


def test_other_connections_go_on(postgres_url: str) -> None:
    """Only the one that waits too long is cut; one that was answered in time is used again."""
    with (
        psycopg.connect(postgres_url, autocommit=True) as hung,
        psycopg.connect(postgres_url, autocommit=True) as other,
        suspended(hung.info.backend_pid),
    ):
        with answer_within(other, 60), answer_within(hung, 0.1), pytest.raises(psycopg.OperationalError):
            hung.execute("SELECT 1")

        assert other.execute("SELECT 1").fetchone() == (1,)


def test_a_closed_connection_needs_no_limit(postgres_url: str) -> None:
    """Its statement fails as it would without one."""
    connection = psycopg.connect(postgres_url)
    connection.close()

    with pytest.raises(psycopg.OperationalError), answer_within(connection, 60):
        connection.execute("SELECT 1")


def test_a_wait_leaves_no_open_file(postgres_url: str) -> None:
    """A writer has thousands of them in a second."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        before = open_files()
        for _ in range(100):
            with answer_within(connection, 60):
                connection.execute("SELECT 1")

        assert open_files() <= before + 1

    del connection
    assert open_files() < before  # the connection's own file is gone too


def test_a_closed_connection_leaves_no_open_file(postgres_url: str) -> None:
    """Neither one that is gone, nor one that somebody still refers to while others wait."""
    with psycopg.connect(postgres_url, autocommit=True) as other:
        before = open_files()
        gone, kept = (psycopg.connect(postgres_url, autocommit=True) for _ in range(2))
        for connection in (gone, kept):
            with answer_within(connection, 60):
                connection.execute("SELECT 1")
            connection.close()
        del gone, connection

        with answer_within(other, 60):
            wait_until(lambda: open_files() <= before + 1)

    assert kept.closed


def test_a_connection_that_breaks_in_a_wait_is_closed_for_the_server_too(postgres_url: str) -> None:
    """Its locks would stay as long as the socket, of which a duplicate is open."""
    with psycopg.connect(postgres_url) as connection, psycopg.connect(postgres_url, autocommit=True) as other:
        backend = connection.info.backend_pid
        with answer_within(connection, 60):
            connection.execute("SELECT 1")
            ended, other_end = socket.socketpair()
            with ended:
                other_end.close()
                os.dup2(ended.fileno(), connection.fileno())  # this end is gone, without a word to the server
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")

        wait_until(lambda: other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [backend]).fetchone() is None)


def test_a_process_without_files_fails_like_a_lost_connection(postgres_url: str) -> None:
    """Every caller handles that; the session can be used again when there are files."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        with no_more_files(), pytest.raises(psycopg.OperationalError), answer_within(connection, 60):
            connection.execute("SELECT 1")
        with answer_within(connection, 60):
            found = connection.execute("SELECT 1").fetchone()

    assert found == (1,)


def test_many_connections_to_a_server_that_hangs_have_few_lines(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool and its readers are all cut at once, and the log says so ten times in ten seconds at most."""
    monkeypatch.setattr("ledger.sessions.answer_limit._watchdog._lines", LineBudget())
    with ExitStack() as stack, capture_logs() as logs:
        connections = [stack.enter_context(psycopg.connect(postgres_url, autocommit=True)) for _ in range(12)]
        with suspended(*(connection.info.backend_pid for connection in connections)), ExitStack() as waits:
            for connection in connections:
                waits.enter_context(answer_within(connection, 0.0))
            for connection in connections:
                with pytest.raises(psycopg.OperationalError):
                    connection.execute("SELECT 1")

    assert len([line for line in logs if line["event"] == "server_does_not_answer"]) == 10
