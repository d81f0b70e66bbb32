"""The head that is noted outside of the database: a copy of the files that was made before it is found to be behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest

from ledger.audit.verify import verify_store
from ledger.recovery.noted_head import NotedHead, NotedHeads
from ledger.recovery.recover import SKIP_MIN, recover, recover_if_behind
from ledger.store.database import Database
from ledger.store.log import Head
from ledger.writer.writer import Writer
from tests.support.ledgers.recovering import open_account, recoveries


@contextmanager
def noting(database: Database, folder: Path) -> Iterator[Writer]:
    writer = Writer(database, noted_heads=NotedHeads(folder))
    writer.start()
    yield writer
    writer.stop()


def forget_the_last_event(connection: psycopg.Connection[Any]) -> None:
    """Leave the store as a copy of its files has it that was made before the last event."""
    with connection.transaction():
        connection.execute("DELETE FROM events WHERE notification_id = (SELECT position FROM log_head)")
        connection.execute(
            "UPDATE log_head SET position = e.notification_id, digest = e.digest, next_account_id = next_account_id - 1"
            " FROM (SELECT notification_id, digest FROM events ORDER BY notification_id DESC LIMIT 1) AS e"
        )


@pytest.mark.parametrize("went_on", [False, True])
def test_a_log_that_lacks_a_noted_head_is_recovered(
    database: Database, connection: psycopg.Connection[Any], tmp_path: Path, *, went_on: bool
) -> None:
    """A copy of the files has the server of its source. Also when it has as many events by now, they are others."""
    with noting(database, tmp_path) as writer:
        numbers = [open_account(writer) for _ in range(3)]
    forget_the_last_event(connection)
    if went_on:
        unaware = Writer(database)
        unaware.start()
        numbers.append(open_account(unaware))
        unaware.stop()

    with noting(database, tmp_path) as writer:
        number = open_account(writer)

    assert number > SKIP_MIN
    assert recoveries(connection) == 1
    assert verify_store(database).errors == []
    assert numbers[-1] == 3


def test_a_recovery_is_not_done_again_for_an_older_note(
    database: Database, connection: psycopg.Connection[Any], tmp_path: Path
) -> None:
    """A note of another machine may be of the lost time too. The gap that was left holds its numbers."""
    with noting(database, tmp_path) as writer:
        open_account(writer)
        open_account(writer)
    forget_the_last_event(connection)
    recover(database, why="restored")

    assert recover_if_behind(database, NotedHeads(tmp_path)) is None
    assert recoveries(connection) == 1


@pytest.mark.parametrize("note", ["a log with it", "another ledger's", "nonsense", "no folder"])
def test_a_note_that_says_nothing_changes_nothing(
    database: Database, connection: psycopg.Connection[Any], tmp_path: Path, note: str
) -> None:
    """The ledger goes on."""
    folder = tmp_path / "none" if note == "no folder" else tmp_path
    with noting(database, folder) as writer:
        open_account(writer)
    files = list(tmp_path.iterdir())
    if note == "another ledger's":
        files[0].rename(tmp_path / f"{uuid4()}.json")
        forget_the_last_event(connection)
    if note == "nonsense":
        files[0].write_bytes(b"{")

    with noting(database, folder) as writer:
        assert open_account(writer) < 3

    assert recoveries(connection) == 0
    assert len(files) == (0 if note == "no folder" else 1)


def read_note(folder: Path) -> NotedHead:
    """The only note in a folder."""
    (file,) = folder.glob("*.json")
    return msgspec.json.decode(file.read_bytes(), type=NotedHead)


def test_a_process_that_ends_late_does_not_replace_a_later_note(tmp_path: Path) -> None:
    """Its last head may be long past, and a copy of the files made since then would not be found to be behind."""
    ledger_id, at = uuid4(), datetime.now(UTC)
    slow, other = NotedHeads(tmp_path), NotedHeads(tmp_path)
    for each, positions in [(slow, (1, 2)), (other, (9,))]:
        each.read(ledger_id)
        for position in positions:
            each.note(Head(position, b"", at, 1, 0))

    slow.flush()

    assert read_note(tmp_path).position == 9


def test_a_recovery_replaces_the_note(database: Database, tmp_path: Path) -> None:
    """Or a server whose clock is behind the note would be recovered again on each connection."""
    with noting(database, tmp_path) as writer:
        open_account(writer)
    (file,) = tmp_path.iterdir()
    ahead = msgspec.structs.replace(read_note(tmp_path), position=99, at=datetime.now(UTC) + timedelta(hours=1))
    file.write_bytes(msgspec.json.encode(ahead))

    done = [recover_if_behind(database, NotedHeads(tmp_path)) for _ in range(2)]

    assert [each is not None for each in done] == [True, False]
    assert read_note(tmp_path).position == 2
