"""The audit of the read models: each row that is not what the log says is named, and books that do not balance are."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from ledger.audit.findings import Findings
from ledger.store.database import Database
from projections.engine.rebuild import rebuild
from projections.engine.verify import check_read_models
from projections.models.trial_balance import SQL, currency_sums
from tests.support.histories import append_rows
from tests.support.read_models import MOVED, apply_singly, some_history


@pytest.fixture
def owner(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """A connection that may do what the service may not, to a ledger with some history in its read models."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        history = some_history(8)
        append_rows(connection, history.rows)
        apply_singly(connection, len(history.rows))
        connection.execute(MOVED)
        yield connection


def found(database: Database) -> list[tuple[int, str]]:
    findings = Findings()
    check_read_models(database, findings)
    return [(error.position, error.what) for error in findings.first]


def test_read_models_that_are_right_are_found_right(database: Database, owner: psycopg.Connection[Any]) -> None:
    """All of them, with the stages told, and nothing is left behind."""
    stages: list[str] = []
    findings = Findings()

    check_read_models(database, findings, progress=lambda stage, _done, _total: stages.append(stage))

    assert not findings
    assert {"applying", "comparing"} <= set(stages)
    left = "SELECT 1 FROM pg_class WHERE relname LIKE '%_rebuilt' AND relnamespace = current_schema()::regnamespace"
    assert owner.execute(left).fetchall() == []


def test_read_models_that_are_behind_are_compared_where_they_stand(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """Being behind is nothing wrong."""
    opened = some_history(1).rows[0]
    append_rows(owner, [opened._replace(originator_id="account-99")])

    assert found(database) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("UPDATE {0} SET {1} = {2}", "{0} has {{'{1}': {2}}} where the log says {{'{1}': "),
        ("DELETE FROM {0}", "{0} lacks the row "),
    ],
)
@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("payment_status", "currency", "'XXX'"),
        ("account_balance", "currency", "'XXX'"),
        ("journal_entry", "payment_id", "7"),
        ("journal_posting", "currency", "'XXX'"),
        ("dead_letter", "currency", "'XXX'"),
    ],
)
def test_a_row_that_is_wrong_is_named_at_its_last_event(
    database: Database, owner: psycopg.Connection[Any], change: str, says: str, table: str, column: str, value: str
) -> None:
    """With what it has and what it should have, or that it is not there."""
    row = owner.execute(f"SELECT ctid, position FROM {table} ORDER BY position DESC LIMIT 1".encode()).fetchone()
    assert row is not None
    owner.execute((change.format(table, column, value) + " WHERE ctid = %s").encode(), [row[0]])

    position, what = found(database)[0]

    assert position == row[1]
    assert what.startswith(says.format(table, column, value))


def test_a_row_that_no_event_has_made_is_named(database: Database, owner: psycopg.Connection[Any]) -> None:
    """At the position that it gives itself."""
    owner.execute(
        "INSERT INTO account_balance SELECT 77, currency, 0, 0, version, opened_at, updated_at, position"
        " FROM account_balance WHERE account_id = 1"
    )

    ((position, what),) = found(database)

    row = owner.execute("SELECT position FROM account_balance WHERE account_id = 1").fetchone()
    assert (position,) == row
    assert what.startswith("account_balance has a row that no event has made: ")


def test_a_counter_that_is_wrong_is_named_at_the_models_position(
    database: Database, owner: psycopg.Connection[Any]
) -> None:
    """It has no event of its own."""
    owner.execute("UPDATE counters SET value = value + 1 WHERE name = 'payments_success_total'")

    row = owner.execute("SELECT position FROM log_head").fetchone()
    assert row is not None
    ((position, what),) = found(database)
    assert position == row[0]
    assert what.startswith("counters has {'value': ")


def test_of_many_wrong_rows_some_are_listed(
    database: Database, owner: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how many there are is said."""
    defaults = rebuild.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "examples_max", 2)
    owner.execute("UPDATE journal_entry SET at = at + interval '1 second'")

    errors = found(database)

    assert len(errors) == 3
    assert errors[-1][1].startswith("journal_entry differs in ")


def test_an_event_that_no_read_model_can_take_is_named(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The fault is in the log, so the tables are not compared."""
    owner.execute("UPDATE events SET topic = 'unheard.of' WHERE notification_id = 3")

    ((position, what),) = found(database)

    assert position == 3
    assert what.startswith("the read models cannot take it: ")


def test_books_that_do_not_balance_are_named(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The sum of the balances differs from the customers' sum in the journal."""
    owner.execute("UPDATE account_balance SET posted_minor = posted_minor + 5 WHERE account_id = 1")

    what = found(database)[-1][1]

    assert what.startswith("the books in USD do not balance: the postings sum up to 0, and of ")


def test_a_currency_that_only_one_side_has_is_no_balance(owner: psycopg.Connection[Any]) -> None:
    """Neither an account without entries nor entries without an account."""
    sums = currency_sums(owner.execute(SQL["sum_up"]))
    owner.execute("UPDATE account_balance SET currency = 'XXX' WHERE account_id = 1")
    spoilt = {each.currency: each for each in currency_sums(owner.execute(SQL["sum_up"]))}

    assert sums
    assert all(each.balanced for each in sums)
    assert (spoilt["XXX"].entries, spoilt["XXX"].balanced, spoilt["USD"].balanced) == (0, False, False)


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM journal_posting WHERE position = 1",
        "DELETE FROM journal_entry WHERE position = 1",
        "UPDATE journal_posting SET amount_minor = 2 * amount_minor WHERE position = 1",
        "UPDATE journal_entry SET debit_minor = 1, credit_minor = 1 WHERE position = 1",
        "UPDATE journal_posting SET direction = 'debit' WHERE (position, account) = (1, 'customer')",
    ],
)
def test_books_whose_entries_are_not_their_postings_do_not_balance(owner: psycopg.Connection[Any], change: str) -> None:
    """Postings that no entry has counted, entries without their postings, and amounts that differ."""
    owner.execute(change.encode())

    balanced = {each.currency: each.balanced for each in currency_sums(owner.execute(SQL["sum_up"]))}

    assert balanced == {"USD": False, "JPY": True}
