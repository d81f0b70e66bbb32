"""The audit of the read models: each row that is not what the log says is named, and books that do not balance are."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import psycopg
import pytest

from ledger.audit_findings import Findings
from ledger.database import Database
from projections.audit import check_read_models
from projections.rebuild import rebuild
from projections.trial_balance import SQL, currency_sums
from tests.projections.histories import append_rows
from tests.projections.test_projector import apply_singly, some_history

MOVED: Final = "UPDATE tracking SET position = (SELECT position FROM head)"


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
        ("UPDATE {} SET currency = 'XXX'", "{} has {{'currency': 'XXX'}} where the log says {{'currency': "),
        ("DELETE FROM {}", "{} lacks the row "),
    ],
)
@pytest.mark.parametrize("table", ["payment_status", "account_balance", "journal", "dead_letter"])
def test_a_row_that_is_wrong_is_named_at_its_last_event(
    database: Database, owner: psycopg.Connection[Any], change: str, says: str, table: str
) -> None:
    """With what it has and what it should have, or that it is not there."""
    row = owner.execute(f"SELECT ctid, position FROM {table} ORDER BY position DESC LIMIT 1".encode()).fetchone()
    assert row is not None
    owner.execute((change.format(table) + " WHERE ctid = %s").encode(), [row[0]])

    position, what = found(database)[0]

    assert position == row[1]
    assert what.startswith(says.format(table))


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

    row = owner.execute("SELECT position FROM head").fetchone()
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
    owner.execute("UPDATE journal SET at = at + interval '1 second'")

    errors = found(database)

    assert len(errors) == 3
    assert errors[-1][1].startswith("journal differs in ")


def test_an_event_that_no_read_model_can_take_is_named(database: Database, owner: psycopg.Connection[Any]) -> None:
    """The log is what is wrong then, and the tables are not compared."""
    owner.execute("UPDATE events SET topic = 'unheard.of' WHERE notification_id = 3")

    ((position, what),) = found(database)

    assert position == 3
    assert what.startswith("the read models cannot take it: ")


def test_books_that_do_not_balance_are_named(database: Database, owner: psycopg.Connection[Any]) -> None:
    """What the accounts hold is not what the journal says that customers own."""
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
