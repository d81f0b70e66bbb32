"""Verifying the log finds any change in it, at its position."""

from contextlib import closing
from decimal import Decimal

import pytest

from ledger.audit.verify import verify_seals
from ledger.domain.commands import OpenAccount, RequestDeposit
from ledger.store.database import Database
from ledger.writer.writer import Writer

EVENTS = 30


@pytest.fixture
def log(database: Database, writer: Writer) -> Database:
    """Yield a log of 30 events."""
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


def test_an_unchanged_log_is_verified(log: Database) -> None:
    """All its events are counted, and the digest equals the head's."""
    report = verify_seals(log)

    with closing(log.connect(application="test")) as connection:
        head = connection.execute("SELECT position, encode(digest, 'hex') FROM log_head").fetchone()
    assert (report.ok, report.events, report.errors) == (True, EVENTS, [])
    assert (report.position, report.digest) == head


def test_an_empty_log_is_verified(database: Database) -> None:
    """Its digest is that of the ledger's id."""
    assert verify_seals(database).ok


@pytest.mark.parametrize("start", [1, 2, EVENTS])
def test_a_part_can_be_verified(log: Database, start: int) -> None:
    """The seal before the part is trusted. Progress is reported page by page."""
    progress: list[tuple[int, int]] = []

    report = verify_seals(log, start=start, upto=EVENTS, on_progress=lambda done, todo: progress.append((done, todo)))

    assert (report.ok, report.events) == (True, EVENTS - start + 1)
    assert progress[-1] == (report.events, report.events)


def test_pages_continue_each_other(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain continues from page to page."""
    monkeypatch.setattr("ledger.audit.check_hash_chain.PAGE", 7)

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
    """The first finding has the changed position."""
    tamper(log, f"UPDATE events SET {change} WHERE notification_id = {position}")

    assert positions(log)[0] == position


@pytest.mark.parametrize("position", [1, 13, EVENTS])
def test_a_removed_row_is_found(log: Database, position: int) -> None:
    """The first and the last row are included."""
    tamper(log, f"DELETE FROM events WHERE notification_id = {position}")

    assert positions(log)[0] == position


def test_swapped_rows_are_found(log: Database) -> None:
    """Their seals include their positions."""
    tamper(
        log,
        "UPDATE events SET notification_id = 999 WHERE notification_id = 5",
        "UPDATE events SET notification_id = 5 WHERE notification_id = 9",
        "UPDATE events SET notification_id = 9 WHERE notification_id = 999",
    )

    assert positions(log)[:1] == [5]


def test_a_head_set_back_is_found(log: Database) -> None:
    """The log continues after it."""
    tamper(log, "UPDATE log_head SET position = 20, digest = (SELECT digest FROM events WHERE notification_id = 20)")

    assert positions(log) == [21]


def test_a_head_that_was_changed_is_found(log: Database) -> None:
    """Its digest differs from the seal of the last event."""
    tamper(log, "UPDATE log_head SET digest = decode(repeat('00', 32), 'hex')")

    assert positions(log) == [EVENTS]


def test_another_ledgers_id_is_found(log: Database) -> None:
    """The chain starts from the ledger's id."""
    tamper(log, "UPDATE ledger_identity SET ledger_id = gen_random_uuid()")

    assert positions(log) == [1]


def test_a_part_after_a_missing_row_is_not_verified(log: Database) -> None:
    """The seal that the part starts from is missing."""
    tamper(log, "DELETE FROM events WHERE notification_id = 12")

    assert [error.position for error in verify_seals(log, start=13).errors] == [13]


def test_the_list_of_errors_is_bounded(log: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """A completely rewritten log does not give an endless report."""
    monkeypatch.setattr("ledger.audit.findings.ERRORS_MAX", 3)
    tamper(log, "UPDATE events SET state = state || ' '")

    report = verify_seals(log)

    assert (report.ok, len(report.errors)) == (False, 3)
