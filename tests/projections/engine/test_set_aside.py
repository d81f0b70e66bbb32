"""One user's impossible event sets that stream aside; the streams of all others go on, and a rebuild mends it."""

import threading
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql
from structlog.testing import capture_logs

from ledger.audit.findings import Findings
from ledger.store.database import Database
from ledger.store.migrate import Followers, migrate
from projections.contract.log_page import Placed
from projections.contract.read_model import Group, ReadModel
from projections.engine.projector import Projector
from projections.engine.rebuild import rebuild
from projections.engine.set_aside import SET_ASIDE_MAX, SetAside, read_set_aside
from projections.engine.verify import check_read_models
from projections.models.registry import FOLLOWERS
from tests.support.histories import History, append_rows
from tests.support.read_models import caught_up, dump, expected_of, running, some_history, tracking
from tests.support.waiting import wait_until

POISON = "ALTER TABLE account_balance ADD CONSTRAINT poison CHECK (account_id <> 1 OR version < 4)"
MEND = "ALTER TABLE account_balance DROP CONSTRAINT poison"
WITHOUT_LETTERS = (
    "UPDATE projection_tracking SET models = '{payment_status,account_balance,journal}' WHERE name = 'read_models'"
)


def position_of(history: History, stream: str, version: int) -> int:
    return next(
        position
        for position, recorded in history.events
        if (recorded.originator_id, recorded.originator_version) == (stream, version)
    )


def aside(position: int, *, stream: str = "account-1", because: str = "CheckViolation: poison") -> SetAside:
    return SetAside(name="read_models", stream=stream, account_id=1, position=position, because=because)


def without_account(rows: dict[str, list[tuple[Any, ...]]]) -> list[tuple[Any, ...]]:
    """The balances of all accounts except the first."""
    return [row for row in rows["account_balance"] if row[0] != 1]


@pytest.mark.parametrize("page_max", [1, 1_000])
def test_a_row_that_the_database_refuses_sets_its_stream_aside(
    database: Database, owner: psycopg.Connection[Any], page_max: int
) -> None:
    """The position moves on, all other streams are applied, and the reason is kept and logged."""
    history = some_history()
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)
    owner.execute(POISON.encode())

    with capture_logs() as logs, running(Projector(database, page_max=page_max)):
        wait_until(lambda: caught_up(owner))

    guilty = position_of(history, "account-1", 4)
    rows = dump(owner)
    assert read_set_aside(owner) == [aside(guilty)]
    assert {standing[2:] for standing in tracking(owner).values()} == {(None, None)}
    assert without_account(expected) == without_account(rows)
    assert expected["payment_status"] == rows["payment_status"]
    assert expected["counters"] == rows["counters"]
    (balance,) = (row for row in rows["account_balance"] if row[0] == 1)
    assert balance[4] == 3, "the account stands where its last event could be applied"
    told = [(entry["stream"], entry["position"]) for entry in logs if entry["event"] == "projection_stream_set_aside"]
    assert told == [("account-1", guilty)]


def test_an_event_that_a_fold_refuses_sets_its_stream_aside(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A payment that somebody has taken out of the table is missed at its next event, inside a page of many."""
    history = History()
    payment_id = history.deposit(history.open())
    append_rows(owner, history.rows)
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    owner.execute("DELETE FROM payment_status")
    before = len(history.rows)
    history.open()
    history.attempt(payment_id, "approved", "succeed")
    append_rows(owner, history.rows[before:])

    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))

    because = "payment 1 was never requested"
    assert read_set_aside(owner) == [aside(before + 2, stream="payment-1", because=because)]
    assert [row[0] for row in dump(owner)["account_balance"]] == [1, 2]


def test_a_rebuild_takes_a_mended_stream_in_again(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Before the mend it sets the same stream aside, and the audit names it; afterwards nothing is left of it."""
    history = some_history()
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows)
    owner.execute(POISON.encode())
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    guilty = position_of(history, "account-1", 4)

    still_broken = rebuild(database)
    findings = Findings()
    check_read_models(database, findings)
    owner.execute(MEND.encode())
    mended = rebuild(database)

    assert (still_broken.clean, list(still_broken.set_aside)) == (True, [aside(guilty)])
    what = "account-1 is set aside by read_models: CheckViolation: poison"
    assert [(error.position, error.what) for error in findings.first] == [(guilty, what)]
    assert list(mended.set_aside) == []
    assert next(each.surplus for each in mended.differences if each.table == "projection_set_aside") == 1
    assert read_set_aside(owner) == []
    assert expected == dump(owner)


def test_the_reason_is_the_same_for_a_copy_that_the_message_names(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Otherwise a rebuild would show a difference where there is none."""
    history = History()
    history.open()
    append_rows(owner, history.rows)
    owner.execute("ALTER TABLE account_balance ADD COLUMN poison bigint NOT NULL")
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    (live,) = read_set_aside(owner)

    rebuilt = rebuild(database)

    assert 'relation "account_balance" violates' in live.because
    assert (rebuilt.clean, list(rebuilt.set_aside)) == (True, [live])


def test_a_rebuild_finds_the_guilty_event_in_any_page(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The page is halved until the event is alone."""
    history = some_history()
    append_rows(owner, history.rows)
    owner.execute(POISON.encode())
    guilty = position_of(history, "account-1", 4)

    found = [list(rebuild(database, page_max=page_max).set_aside) for page_max in (1, 7, 10_000)]

    assert found == [[aside(guilty)]] * 3


def test_a_fault_of_many_streams_stops_the_group(database: Database, owner: psycopg.Connection[Any]) -> None:
    """So many are not one user's fault, and readers of every user would be refused."""
    history = History()
    for _ in range(SET_ASIDE_MAX + 5):
        history.open()
    append_rows(owner, history.rows)
    owner.execute("ALTER TABLE account_balance ADD CONSTRAINT poison CHECK (false)")

    with running(Projector(database)):
        wait_until(lambda: tracking(owner)["read_models"][2] is not None)

    position, _, stopped_at, because = tracking(owner)["read_models"]
    assert (position, stopped_at) == (SET_ASIDE_MAX, SET_ASIDE_MAX + 1)
    assert str(because).startswith("CheckViolation")
    assert len(read_set_aside(owner)) == SET_ASIDE_MAX


def test_a_missing_right_stops_the_group(database: Database, owner: psycopg.Connection[Any]) -> None:
    """No event is at fault, and the group goes on when the right is there again."""
    history = some_history(2)
    append_rows(owner, history.rows)
    role = sql.Identifier(database.service_role)
    owner.execute(sql.SQL("REVOKE INSERT ON counters FROM {}").format(role))

    with running(Projector(database, poll_interval_seconds=0.02, pause_seconds_min=0.05)):
        wait_until(lambda: tracking(owner)["counters"][2] is not None)
        wait_until(lambda: tracking(owner)["read_models"][0] == len(history.rows))
        assert read_set_aside(owner) == []
        owner.execute(sql.SQL("GRANT INSERT ON counters TO {}").format(role))
        wait_until(lambda: caught_up(owner))


@pytest.mark.parametrize("error", [MemoryError(), TypeError("a mistake of the program")])
def test_an_error_that_is_not_of_the_data_stops_the_group(
    database: Database, owner: psycopg.Connection[Any], error: Exception
) -> None:
    """No stream waits for a rebuild because a process had no memory; the group goes on by itself."""
    append_rows(owner, some_history(2).rows)
    cured = threading.Event()

    def fold(events: Sequence[Placed]) -> None:
        if not cured.is_set() and events[-1][0] >= 3:
            raise error

    failing = Group("counters", (ReadModel(name="counters", tables=(), fold=fold, store=lambda *_: None),))
    with running(Projector(database, poll_interval_seconds=0.02, pause_seconds_min=0.05, groups=(failing,))):
        wait_until(lambda: tracking(owner)["counters"][2] is not None)
        position, _, stopped_at, because = tracking(owner)["counters"]
        cured.set()
        wait_until(lambda: tracking(owner)["counters"][0] == head_position(owner))

    assert (position, stopped_at) == (2, 3)
    assert str(because).startswith(type(error).__name__)
    assert read_set_aside(owner) == []


def head_position(owner: psycopg.Connection[Any]) -> int:
    ((position,),) = owner.execute("SELECT position FROM log_head").fetchall()
    return int(position)


# --- read models that were never filled ------------------------------------------------------------------------------


def test_a_model_that_was_never_filled_is_named_and_left_alone(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A part of its rows would look like all of them. A rebuild fills it, and the projector moves it from then on."""
    history = some_history()
    expected = expected_of(database, owner, history)
    append_rows(owner, history.rows[:-5])
    with running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    owner.execute("TRUNCATE dead_letter")
    owner.execute(WITHOUT_LETTERS.encode())
    append_rows(owner, history.rows[-5:])

    with capture_logs() as logs, running(Projector(database)):
        wait_until(lambda: caught_up(owner))
    findings = Findings()
    check_read_models(database, findings)
    before = dump(owner)["dead_letter"]
    rebuild(database)

    assert [entry["models"] for entry in logs if entry["event"] == "projection_not_filled"] == [["dead_letter"]]
    assert "dead_letter of read_models was not filled from the log; a rebuild fills it" in [
        error.what for error in findings.first
    ]
    assert before == []
    assert expected == dump(owner)
    assert models_of(owner)["read_models"] == FOLLOWERS.tracked["read_models"]


def models_of(owner: psycopg.Connection[Any]) -> dict[str, list[str]]:
    return dict(owner.execute("SELECT name, models FROM projection_tracking").fetchall())


def test_a_model_joins_a_group_that_has_begun_unfilled(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A group that has applied nothing yet fills all of its models by itself."""
    joined = Followers(tracked={name: [*models, "one_more"] for name, models in FOLLOWERS.tracked.items()})
    owner.execute("UPDATE projection_tracking SET position = 1 WHERE name = 'counters'")

    migrate(database, followers=joined)

    assert models_of(owner) == {
        "counters": FOLLOWERS.tracked["counters"],
        "read_models": [*FOLLOWERS.tracked["read_models"], "one_more"],
    }
