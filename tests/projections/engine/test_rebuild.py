"""A rebuild on a real database: it finds differences, corrects them, and keeps the form of the tables."""

from contextlib import closing
from typing import Any

import psycopg
import psycopg.errors
import pytest
from hypothesis import HealthCheck, given, settings

from ledger.store.database import Database
from projections.engine.projector import Projector
from projections.engine.rebuild import RowDifference, Stage, rebuild
from projections.errors import EventNotApplicable, ReadModelsChanged
from projections.models.registry import TABLES
from tests.support.histories import History, append_rows, histories
from tests.support.read_models import (
    append_and_apply,
    apply_singly,
    caught_up,
    copies,
    dump,
    empty,
    running,
    shape,
    some_history,
)
from tests.support.waiting import wait_until

# --- what it finds ---------------------------------------------------------------------------------------------------


def test_a_rebuild_of_what_is_right_finds_no_difference(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Rows, form, grants and tracking are afterwards what they were before."""
    history = some_history()
    append_and_apply(owner, history)
    rows, form = dump(owner), shape(owner)

    done = rebuild(database)

    assert done.clean
    assert (done.swapped, done.position) == (True, len(history.rows))
    assert [difference.table for difference in done.differences] == list(TABLES)
    assert rows == dump(owner)
    assert form == shape(owner)
    assert copies(owner) == []


@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(steps_max=40))
def test_whatever_happened_is_rebuilt_as_it_was(
    database: Database, owner: psycopg.Connection[Any], history: History
) -> None:
    """Incremental and rebuilt read models are the same, for any history and small pages."""
    empty(owner)
    append_and_apply(owner, history)
    rows = dump(owner)

    done = rebuild(database, page_max=5)

    assert done.clean, done.differences
    assert rows == dump(owner)


def damage(owner: psycopg.Connection[Any]) -> None:
    """Change a row, take two away and add one."""
    owner.execute("UPDATE account_balance SET posted_minor = posted_minor + 1 WHERE account_id = 1")
    owner.execute("DELETE FROM journal_entry WHERE position = 1")
    owner.execute("DELETE FROM journal_posting WHERE (position, number) = (1, 2)")
    owner.execute("INSERT INTO counters VALUES ('never_counted', 5)")


def test_differences_are_told_row_by_row_and_mended(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A changed, a missing and a surplus row are each named with both sides, and gone after the swap."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    damage(owner)

    done = rebuild(database)

    found = {difference.table: difference for difference in done.differences if difference.differing}
    assert {name: (d.differing, d.missing, d.surplus) for name, d in found.items()} == {
        "account_balance": (1, 0, 0),
        "journal_entry": (1, 1, 0),
        "journal_posting": (1, 1, 0),
        "counters": (1, 0, 1),
    }
    changed = found["account_balance"].examples[0]
    assert changed.live is not None
    assert changed.rebuilt is not None
    assert changed.live["posted_minor"] == changed.rebuilt["posted_minor"] + 1
    assert found["journal_entry"].examples[0].live is None
    assert found["journal_posting"].examples[0].live is None
    assert found["counters"].examples == [RowDifference(live={"name": "never_counted", "value": 5}, rebuilt=None)]
    assert not done.clean
    assert rows == dump(owner)


def test_only_the_first_differences_are_shown_and_all_are_counted(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A table with errors in every row does not flood the output."""
    append_and_apply(owner, some_history(40))
    owner.execute("UPDATE payment_status SET attempts = attempts + 1")

    done = rebuild(database, check_only=True, examples_max=3)

    (difference,) = [difference for difference in done.differences if difference.differing]
    assert (difference.table, difference.differing, len(difference.examples)) == ("payment_status", 40, 3)


def test_checking_changes_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The wrong rows stay, so that an operator can look at them."""
    append_and_apply(owner, some_history())
    damage(owner)
    rows = dump(owner)

    done = rebuild(database, check_only=True)

    assert (done.clean, done.swapped) == (False, False)
    assert rows == dump(owner)
    assert copies(owner) == []


def test_read_models_that_are_behind_are_compared_where_they_stand(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Tables that lag are compared at their own position. After the swap they are up to date."""
    history = some_history()
    append_and_apply(owner, history)
    rows = dump(owner)
    empty(owner)
    append_rows(owner, history.rows)
    apply_singly(owner, 30)
    owner.execute("UPDATE projection_tracking SET position = 30")

    done = rebuild(database, page_max=7)

    assert done.clean
    assert {difference.position for difference in done.differences} == {30}
    assert done.position == len(history.rows)
    assert rows == dump(owner)
    assert owner.execute("SELECT DISTINCT position FROM projection_tracking").fetchall() == [(done.position,)]


def test_read_models_that_are_further_than_the_log_are_brought_back(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A row without an event is a difference, and gone after the swap."""
    history = some_history()
    append_and_apply(owner, history)
    owner.execute("DELETE FROM events WHERE notification_id > 40; UPDATE log_head SET position = 40")

    done = rebuild(database, page_max=10)

    assert not done.clean
    assert {difference.position for difference in done.differences} == {40}
    assert owner.execute("SELECT DISTINCT position FROM projection_tracking").fetchall() == [(40,)]
    assert owner.execute("SELECT max(position) <= 40 FROM journal_entry").fetchone() == (True,)


def test_a_group_that_is_stopped_behind_the_other_goes_on_after_a_rebuild(
    database: Database, owner: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here rows stand in the way of an event, and no stream may be set aside for it; a rebuild is the cure."""
    monkeypatch.setattr("projections.engine.set_aside.SET_ASIDE_MAX", 0)
    history, more = some_history(), some_history(30)
    append_rows(owner, history.rows)
    guilty = next(p for p, recorded in history.events if recorded.data.TOPIC == "account.debited")
    owner.execute("INSERT INTO journal_entry SELECT %s, 'USD', NULL, now(), 0, 0", [guilty])

    with running(Projector(database, pause_seconds_min=600.0)):
        wait_until(lambda: stopped_at(owner) == [("counters", None), ("read_models", guilty)])
        wait_until(
            lambda: owner.execute("SELECT max(position) FROM projection_tracking").fetchone() == (len(history.rows),)
        )
        done = rebuild(database, page_max=10)
        append_rows(owner, more.rows[len(history.rows) :])
        wait_until(lambda: caught_up(owner))

    assert [(d.table, d.surplus) for d in done.differences if d.differing] == [("journal_entry", 1)]
    assert {d.table: d.position for d in done.differences}["journal_entry"] == guilty - 1
    assert stopped_at(owner) == [("counters", None), ("read_models", None)]
    assert rebuild(database, check_only=True).clean


def stopped_at(owner: psycopg.Connection[Any]) -> list[tuple[Any, ...]]:
    """The position at which each group has stopped."""
    return owner.execute("SELECT name, stopped_at_position FROM projection_tracking ORDER BY name").fetchall()


def test_the_planner_knows_how_much_was_made_from_nothing(database: Database, owner: psycopg.Connection[Any]) -> None:
    """As after an import: the live tables are empty, and all rows come after the comparison with them."""
    append_rows(owner, some_history().rows)

    rebuild(database)

    known = "SELECT reltuples::bigint FROM pg_class WHERE oid = 'payment_status'::regclass"
    assert owner.execute(known).fetchone() == owner.execute("SELECT count(*) FROM payment_status").fetchone() != (0,)


def test_an_empty_ledger_can_be_rebuilt(database: Database) -> None:
    """There is nothing to apply and nothing to differ."""
    done = rebuild(database)

    assert (done.clean, done.swapped, done.position) == (True, True, 0)


def test_an_event_that_no_model_can_take_ends_the_rebuild(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Its position is named, and the live tables stay."""
    append_and_apply(owner, some_history())
    rows = dump(owner)
    owner.execute("UPDATE events SET topic = 'payment.unheard_of' WHERE notification_id = 9")

    with pytest.raises(EventNotApplicable) as refused:
        rebuild(database)

    assert refused.value.position == 9
    assert rows == dump(owner)
    assert copies(owner) == []


# --- form ------------------------------------------------------------------------------------------------------------


def test_what_operators_have_given_to_a_table_is_kept(database: Database, owner: psycopg.Connection[Any]) -> None:
    """Indexes, options and grants that no migration of ours has made, on columns too; the service may still write."""
    owner.execute("CREATE UNIQUE INDEX of_an_operator ON journal_entry (at, position) WHERE debit_minor <> 0")
    owner.execute("ALTER TABLE journal_entry SET (autovacuum_enabled = false, fillfactor = 95)")
    owner.execute("GRANT SELECT ON journal_entry TO PUBLIC")
    owner.execute("GRANT SELECT (name) ON counters TO PUBLIC")
    form = shape(owner)
    append_rows(owner, some_history().rows)

    rebuild(database)

    assert form == shape(owner)
    assert any(row[2] == "of_an_operator" for row in form)
    with closing(database.connect(application="payment-ledger tests")) as service:
        service.execute("DELETE FROM dead_letter")


def test_tables_of_another_owner_keep_him(database: Database, owner: psycopg.Connection[Any]) -> None:
    """A superuser may rebuild tables of another owner."""
    owner.execute(f'GRANT CREATE ON SCHEMA "{database.schema}" TO "{database.service_role}"')
    owner.execute(f'ALTER TABLE counters OWNER TO "{database.service_role}"')
    owner.execute("GRANT SELECT ON counters TO PUBLIC")
    form = shape(owner)

    rebuild(database)

    assert form == shape(owner)


def test_tables_that_change_their_form_meanwhile_are_not_replaced(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """A migration that comes in between wins, and the rebuild says so."""
    append_and_apply(owner, some_history())

    def migrate_in_between(stage: Stage, _done: int, _total: int) -> None:
        if stage == "swapping":
            owner.execute("ALTER TABLE counters ADD COLUMN IF NOT EXISTS since timestamptz")

    with pytest.raises(ReadModelsChanged):
        rebuild(database, progress=migrate_in_between)

    assert any(row[2] == "since" for row in shape(owner))
    assert copies(owner) == []
