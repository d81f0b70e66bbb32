"""Callers are answered when their patience is over, and the answer is true whatever the writer's thread does."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from ledger.errors import DatabaseUnavailable, OutcomeUnknown
from ledger.fail_points import FailPoint
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import execute
from tests.support.ledgers.running_writer import answer, deposit, given_account, log_topics
from tests.support.proxies import proxy_before
from tests.support.waiting import wait_until

PATIENCE_SECONDS = 0.5
STALL_SECONDS = 2.0


@contextmanager
def writing(database: Database) -> Iterator[Writer]:
    """Run a writer whose callers have little patience, and which writes one command at a time."""
    writer = Writer(database, patience_seconds=PATIENCE_SECONDS, batch_max=1)
    writer.start()
    try:
        yield writer
    finally:
        writer.stop()


def stalling(monkeypatch: pytest.MonkeyPatch, place: FailPoint) -> list[float]:
    """Let the writer stall once at a place, longer than its callers wait. The list gets the time of its end."""
    ended: list[float] = []
    begun: list[FailPoint] = []

    def stall(reached: FailPoint) -> None:
        if reached == place and not begun:
            begun.append(reached)
            time.sleep(STALL_SECONDS)
            ended.append(time.monotonic())

    monkeypatch.setattr("ledger.fail_points._reached", stall)
    return ended


@pytest.mark.parametrize("place", ["writer.before_lock", "writer.after_lock", "writer.before_commit"])
def test_a_command_whose_caller_was_refused_is_never_committed(
    database: Database, monkeypatch: pytest.MonkeyPatch, place: FailPoint
) -> None:
    """The caller is told in time that nothing was done, and nothing is done when the thread goes on."""
    with writing(database) as writer:
        given_account(writer)
        ended = stalling(monkeypatch, place)
        future = writer.submit(deposit("200", key="k"))

        with pytest.raises(DatabaseUnavailable):
            answer(future)
        assert not ended
        wait_until(lambda: bool(ended))
        again = answer(writer.submit(deposit("200", key="k")))

    assert (again.payment_id, again.replayed) == (1, False)
    assert log_topics(database).count("payment.requested") == 1


def test_a_commit_that_takes_longer_than_the_patience_leaves_the_outcome_unknown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller is told so while the COMMIT is under way, and finds the payment under its key."""
    with writing(database) as writer:
        given_account(writer)
        ended = stalling(monkeypatch, "writer.after_commit")
        future = writer.submit(deposit("200", key="k"))

        with pytest.raises(OutcomeUnknown):
            answer(future)
        assert not ended
        again = answer(resent_until_answered(writer, deposit("200", key="k")))

    assert (again.payment_id, again.replayed) == (1, True)


def resent_until_answered(writer: Writer, command: Any) -> Any:
    """Send a command until it is not refused as unavailable; its last future."""
    until = time.monotonic() + 30
    while True:
        future = writer.submit(command)
        if not isinstance(future.exception(30), DatabaseUnavailable) or time.monotonic() > until:
            return future


def test_commands_behind_a_stalled_one_are_refused_in_time(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were not begun, so nothing was done; a command that comes later is written when the thread goes on."""
    with writing(database) as writer:
        given_account(writer)
        ended = stalling(monkeypatch, "writer.before_lock")
        first, *behind = [writer.submit(deposit("200")) for _ in range(4)]
        failures = [type(each.exception(30)) for each in (first, *behind)]
        assert not ended
        wait_until(lambda: bool(ended))
        later = answer(writer.submit(deposit("200")))

    assert failures == [DatabaseUnavailable] * 4
    assert later.payment_id == 1
    assert log_topics(database).count("payment.requested") == 1


def test_a_batch_in_doubt_that_was_not_committed_is_not_decided_again_for_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its callers were told that the outcome is unknown, and the thread finds out later that nothing was stored."""
    with ExitStack() as stack:
        proxy = stack.enter_context(proxy_before(database.url))
        other = stack.enter_context(closing(database.connect(application="test", owner=True)))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        writer = stack.enter_context(writing(Database(proxy.url, database.schema)))
        given_account(writer)
        locked: list[Future[object]] = []

        def wait_for_the_head(reached: FailPoint) -> None:
            if reached == "writer.before_commit" and not locked:
                proxy.cut = "before_commit"
                locked.append(pool.submit(other.execute, "BEGIN; SELECT FROM log_head FOR UPDATE"))
                wait_until(lambda: waits_for_a_lock(database))

        with monkeypatch.context() as patching:
            patching.setattr("ledger.fail_points._reached", wait_for_the_head)
            with pytest.raises(OutcomeUnknown):
                answer(writer.submit(deposit("200", key="k")))
        locked[0].result(30)
        other.execute("ROLLBACK")
        again = answer(resent_until_answered(writer, deposit("200", key="k")))

    assert proxy.lost["before_commit"] == 1
    assert (again.payment_id, again.replayed) == (1, False)
    assert log_topics(database).count("payment.requested") == 1


def waits_for_a_lock(database: Database) -> bool:
    """Whether a session of the tests waits for a lock."""
    statement = "SELECT pid FROM pg_stat_activity WHERE application_name = 'test' AND wait_event_type = 'Lock'"
    return bool(execute(database, statement, owner=True))


def test_a_slow_batch_is_in_the_log(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the number of its commands and its time."""
    with writing(database) as writer:
        given_account(writer)
        ended = stalling(monkeypatch, "writer.after_lock")
        with capture_logs() as lines:
            writer.submit(deposit("200")).exception(30)
            wait_until(lambda: bool(ended) and any(line["event"] == "slow_batch" for line in lines))

    (line,) = (line for line in lines if line["event"] == "slow_batch")
    assert line["commands"] == 1
    assert line["took_seconds"] > 1.0
