"""The proof of the log: whatever is changed in it is found, at its position."""

from contextlib import closing
from decimal import Decimal

import pytest

from ledger.audit import verify_seals
from ledger.commands import OpenAccount, RequestDeposit
from ledger.database import Database
from ledger.writer import Writer

EVENTS = 30


@pytest.fixture
def log(database: Database, writer: Writer) -> Database:
    """A log of 30 events."""
    writer.submit(OpenAccount(command_id="a", opening=Decimal(1000), currency="USD")).result(10)
    for n in range(EVENTS - 1):
        writer.submit(RequestDeposit(command_id=str(n), account_id=1, amount=Decimal(1), fee_rate_ppm=0)).result(10)
    return database


def tamper(database: Database, *statements: str) -> None:
    with closing(database.connect(application="test", owner=True)) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def positions(database: Database) -> list[int]:
    return [error.position for error in verify_seals(database).errors]


def test_an_untouched_log_is_proven(log: Database) -> None:
    """All its events are counted, and the digest is the head's."""
    report = verify_seals(log)

    with closing(log.connect(application="test")) as connection:
        head = connection.execute("SELECT position, encode(digest, 'hex') FROM head").fetchone()
    assert (report.ok, report.events, report.errors) == (True, EVENTS, [])
    assert (report.position, report.digest) == head


def test_an_empty_log_is_proven(database: Database) -> None:
    """Its digest is that of the ledger's id."""
    assert verify_seals(database).ok


@pytest.mark.parametrize("start", [1, 2, EVENTS])
def test_a_part_can_be_proven(log: Database, start: int) -> None:
    """Page by page, with progress, trusting what stands before the part."""
    progress: list[tuple[int, int]] = []

    report = verify_seals(log, start=start, upto=EVENTS, on_progress=lambda done, todo: progress.append((done, todo)))

    assert (report.ok, report.events) == (True, EVENTS - start + 1)
    assert progress[-1] == (report.events, report.events)


def test_pages_join(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain goes on from page to page."""
    monkeypatch.setattr("ledger.audit_seals.PAGE", 7)

    assert verify_seals(log).ok


@pytest.mark.parametrize(
    "change",
    [
        "originator_id = originator_id || 'x'",
        "originator_version = originator_version + 7",
        "topic = topic || 'x'",
        "state = state || ' '",
        "state = set_byte(state, 5, get_byte(state, 5) # 1)",
        "digest = set_byte(digest, 31, get_byte(digest, 31) # 1)",
    ],
)
@pytest.mark.parametrize("position", [1, 13, EVENTS])
def test_any_changed_column_is_found(log: Database, change: str, position: int) -> None:
    """The first position named is the one that was changed."""
    tamper(log, f"UPDATE events SET {change} WHERE notification_id = {position}")

    assert positions(log)[0] == position


@pytest.mark.parametrize("position", [1, 13, EVENTS])
def test_a_removed_row_is_found(log: Database, position: int) -> None:
    """Also the first and the last one."""
    tamper(log, f"DELETE FROM events WHERE notification_id = {position}")

    assert positions(log)[0] == position


def test_swapped_rows_are_found(log: Database) -> None:
    """Their seals know where they stood."""
    tamper(
        log,
        "UPDATE events SET notification_id = 999 WHERE notification_id = 5",
        "UPDATE events SET notification_id = 5 WHERE notification_id = 9",
        "UPDATE events SET notification_id = 9 WHERE notification_id = 999",
    )

    assert positions(log)[:1] == [5]


def test_a_head_set_back_is_found(log: Database) -> None:
    """The log goes on beyond it."""
    tamper(log, "UPDATE head SET position = 20, digest = (SELECT digest FROM events WHERE notification_id = 20)")

    assert positions(log) == [21]


def test_a_head_that_was_changed_is_found(log: Database) -> None:
    """Its seal is not that of the last event."""
    tamper(log, "UPDATE head SET digest = decode(repeat('00', 32), 'hex')")

    assert positions(log) == [EVENTS]


def test_another_ledgers_id_is_found(log: Database) -> None:
    """The chain hangs on it."""
    tamper(log, "UPDATE identity SET ledger_id = gen_random_uuid()")

    assert positions(log) == [1]


def test_a_part_after_a_missing_row_is_not_proven(log: Database) -> None:
    """There is no seal to go on from."""
    tamper(log, "DELETE FROM events WHERE notification_id = 12")

    assert [error.position for error in verify_seals(log, start=13).errors] == [13]


def test_the_list_of_errors_is_bounded(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wholly rewritten log does not make an endless report."""
    monkeypatch.setattr("ledger.audit_findings.ERRORS_MAX", 3)
    tamper(log, "UPDATE events SET state = state || ' '")

    report = verify_seals(log)

    assert (report.ok, len(report.errors)) == (False, 3)
