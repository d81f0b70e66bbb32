"""Changes of a gateway's state: each is one event, and the row follows from the events."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from ledger.audit.check_bounds import check_clock
from ledger.audit.check_operation import OperationCheck
from ledger.audit.findings import Findings
from ledger.audit.verify import verify_store
from ledger.domain.events import GatewayChange, GatewayChanged, Recorded
from ledger.errors import StoreInactive
from ledger.operation.gateway import GatewayStanding, change_gateway, read_standing
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import execute
from tests.support.ledgers.running_writer import answer, deposit, given_account

LOG = "SELECT originator_version, cause, state->>'by' FROM (SELECT originator_version,"
LOG += " convert_from(state, 'UTF8')::jsonb->>'cause' AS cause, convert_from(state, 'UTF8')::jsonb AS state"
LOG += " FROM events WHERE originator_id = 'operation') AS e ORDER BY originator_version"


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Yield a session of the owner."""
    with closing(database.connect(application="test", owner=True)) as connection:
        yield connection


def changed(database: Database, *changes: GatewayChange) -> GatewayStanding:
    standings = [change_gateway(database, change, why=f"because of {change}", by="Ada") for change in changes]
    return standings[-1]


def test_a_gateway_is_closed_at_first(owner: psycopg.Connection[Any]) -> None:
    """It is called, and nothing says otherwise."""
    standing = read_standing(owner)

    assert standing.word == "closed"
    assert (standing.state.paused, standing.state.opened) == (None, None)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        (["paused"], "paused"),
        (["paused", "resumed"], "closed"),
        (["breaker_opened"], "open"),
        (["breaker_opened", "paused"], "paused"),
        (["breaker_opened", "paused", "resumed"], "open"),
        (["paused", "breaker_opened", "breaker_closed"], "paused"),
        (["breaker_opened", "breaker_closed"], "closed"),
    ],
)
def test_a_pause_and_an_open_breaker_are_independent(
    database: Database, changes: list[GatewayChange], word: str
) -> None:
    """Each change is an event, and the audit finds the row that follows from them."""
    standing = changed(database, *changes)

    assert standing.word == word
    assert len(execute(database, LOG)) == len(changes)
    assert verify_store(database).errors == []


def test_an_event_says_who_and_why(database: Database) -> None:
    """Auditors see who paused what, and when."""
    standing = changed(database, "paused")

    assert execute(database, LOG) == [(1, "pause_gateway", "Ada")]
    assert standing.state.paused is not None
    assert (standing.state.paused.why, standing.state.paused.by) == ("because of paused", "Ada")


def test_a_change_to_what_is_so_already_writes_nothing(database: Database) -> None:
    """Two workers open a breaker once, and the first reason stays."""
    changed(database, "breaker_opened")
    standing = change_gateway(database, "breaker_opened", why="the other worker")
    changed(database, "resumed")

    assert standing.state.opened is not None
    assert standing.state.opened.why == "because of breaker_opened"
    assert len(execute(database, LOG)) == 1


def test_a_writer_goes_on_after_it(database: Database) -> None:
    """The event is between its batches, as one of another writer."""
    writer = Writer(database)
    writer.start()
    given_account(writer)
    changed(database, "paused")
    requested = answer(writer.submit(deposit("200")))
    writer.stop()

    assert requested.payment_id == 1
    assert verify_store(database).errors == []


def test_a_copy_that_is_not_active_is_not_changed(database: Database) -> None:
    """The original ledger may be at work."""
    execute(database, "UPDATE log_head SET inactive = true", owner=True)

    with pytest.raises(StoreInactive):
        changed(database, "paused")


def test_a_hold_is_over_when_its_time_has_come(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Nobody has decided it, and no event has it."""
    owner.execute("UPDATE gateway_state SET held_until = now() + interval '1 minute'")
    held = read_standing(owner)
    owner.execute("UPDATE gateway_state SET held_until = now() - interval '1 second'")

    assert (held.word, read_standing(owner).word) == ("held", "closed")
    assert held.held_until is not None
    assert held.held_until - held.clock > timedelta(seconds=30)
    assert verify_store(database).errors == []


# --- what the audit finds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tampering", "what"),
    [
        ("UPDATE gateway_state SET paused_by = 'Eve'", "is not that of its events"),
        ("UPDATE gateway_state SET paused_at = 'infinity'", "is not that of its events"),
        ("UPDATE gateway_state SET paused_at = NULL, paused_why = NULL, paused_by = NULL", "is not that of its events"),
        ("UPDATE gateway_state SET opened_at = now(), opened_why = 'x', probe_at = now()", "is not that of its events"),
        ("INSERT INTO gateway_state (gateway) VALUES ('other')", None),
        ("INSERT INTO gateway_state (gateway, paused_at, paused_why) VALUES ('o', now(), 'x')", "the gateway 'o'"),
        ("DELETE FROM gateway_state", "has no state"),
        ("UPDATE gateway_state SET held_until = 'infinity'", "held_until of the gateway 'gateway' is infinity"),
    ],
)
def test_the_audit_compares_the_row_with_the_events(database: Database, tampering: str, what: str | None) -> None:
    """The service may write the row, and a wrong one stops all payments."""
    changed(database, "paused")
    execute(database, tampering, owner=True)

    errors = verify_store(database).errors

    assert [each.position for each in errors] == ([] if what is None else [1])
    assert all(what is not None and what in each.what for each in errors)


def test_a_state_of_a_later_event_is_left_to_the_next_audit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Payments and operators go on while an audit reads."""
    changed(database, "paused")

    def later(*args: Any, **more: Any) -> None:
        changed(database, "resumed")
        check_clock(*args, **more)

    monkeypatch.setattr("ledger.audit.verify.check_clock", later)

    assert verify_store(database).errors == []


@pytest.mark.parametrize(
    ("stream", "version", "change", "what"),
    [
        ("operation", 1, "paused", None),
        ("payment-1", 1, "paused", "is in the stream 'payment-1'"),
        ("operation", 2, "paused", "version 2 of operation follows version 0"),
        ("operation", 1, "resumed", "says resumed, which was so before"),
    ],
)
def test_the_audit_follows_the_stream(stream: str, version: int, change: GatewayChange, what: str | None) -> None:
    """Each event is in its stream, follows the one before, and changes something."""
    findings = Findings()
    event = GatewayChanged(gateway="gateway", change=change, why="so")
    recorded = Recorded(
        originator_id=stream,
        originator_version=version,
        at=datetime(2026, 11, 30, tzinfo=UTC),
        command_id="c",
        cause="so",
        data=event,
    )
    OperationCheck(findings, from_the_first=True).step(7, recorded, event)

    assert [each.position for each in findings.first] == ([] if what is None else [7])
    assert all(what is not None and what in each.what for each in findings.first)
