"""A store of an older program: its journal becomes entries and postings, the same as a rebuild makes from the log."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any, Final
from uuid import uuid4

import psycopg
import psycopg.errors
import pytest
from hypothesis import HealthCheck, given, settings

from ledger.domain.commands import RequestDeposit, RequestWithdrawal
from ledger.domain.events import AccountCredited, AccountDebited, AccountOpened
from ledger.domain.identifiers import stream_id
from ledger.store.database import Database
from ledger.store.migrate import Followers, migrate, migrations
from projections.contract.read_model import Group
from projections.contract.table_names import LIVE
from projections.engine.projector import Projector
from projections.engine.rebuild import rebuild
from projections.models.registry import FOLLOWERS, GROUPS
from tests.support.databases import remove
from tests.support.histories import History, append_rows, histories
from tests.support.read_models import MOVED, caught_up, dump, running, some_history
from tests.support.waiting import wait_until

LATER: Final = {"postings", "set_aside"}
BEFORE: Final = tuple(migration for migration in migrations() if migration.id.partition(".")[2] not in LATER)
FOLLOWERS_BEFORE: Final = Followers(
    tables=("payment_status", "account_balance", "journal", "dead_letter", "counters", "payment_end"),
)
TRACKED: Final = """
    INSERT INTO projection_tracking (name, position, updated_at)
    SELECT name, 0, now() FROM unnest('{read_models,counters}'::text[]) AS t (name)
"""
INSERT: Final = "INSERT INTO journal VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"


@contextmanager
def older_store(url: str, history: History) -> Iterator[tuple[Database, psycopg.Connection[Any]]]:
    """Make a store as a program without postings left it, its read models at the log's end."""
    database = Database(url, f"test_{uuid4().hex[:16]}")
    try:
        migrate(database, followers=FOLLOWERS_BEFORE, known=BEFORE)
        with closing(database.connect(application="payment-ledger tests", owner=True)) as owner:
            owner.execute(TRACKED)
            append_rows(owner, history.rows)
            for group in GROUPS:
                others = tuple(model for model in group.models if model.name != "journal")
                with owner.transaction():
                    Group(group.name, others).apply(owner, history.events, LIVE)
            with owner.cursor() as cursor:
                cursor.executemany(INSERT, list(journal_rows(history)))
            owner.execute(MOVED)
            yield database, owner
    finally:
        remove(database)


def journal_rows(history: History) -> Iterator[tuple[Any, ...]]:
    """The rows that such a program made: one an entry, debits above zero and credits below, in four columns."""
    balances: Counter[int] = Counter()
    for position, recorded in history.events:
        match recorded.data:
            case AccountOpened(opening_minor=opening):
                columns, payment_id = (-opening, 0, 0, opening), None
            case AccountCredited(gross_minor=gross, fee_minor=fee, net_minor=net, payment_id=paid):
                columns, payment_id = (-net, gross, -fee, 0), paid
            case AccountDebited(gross_minor=gross, fee_minor=fee, total_minor=total, payment_id=paid):
                columns, payment_id = (total, -gross, -fee, 0), paid
            case _:
                continue
        account_id = stream_id(recorded.originator_id)
        balances[account_id] -= columns[0]
        currency = recorded.data.currency
        yield (position, account_id, payment_id, currency, *columns, balances[account_id], recorded.at)


def every_entry() -> History:
    """A history with all that an entry may be: openings of much and nothing, and fees of some, none and all."""
    history = some_history(12)
    account_id = history.open("1000")
    wishes: list[tuple[type[RequestDeposit | RequestWithdrawal], int]] = [
        (RequestDeposit, 0),
        (RequestDeposit, 1_000_000),
        (RequestWithdrawal, 0),
        (RequestWithdrawal, 1_000_000),
    ]
    for wish, fee_rate_ppm in wishes:
        assert history.do(wish(command_id="c", account_id=account_id, amount=Decimal(30), fee_rate_ppm=fee_rate_ppm))
        payment_id = max(payment.payment_id for payment in history.cache.payments.values())
        assert history.attempt(payment_id, "approved", "succeed")
    return history


def test_a_journal_of_columns_becomes_postings(postgres_url: str) -> None:
    """All of it, to the last number; the service may then go on with it, and nothing is rebuilt."""
    history = every_entry()
    with older_store(postgres_url, history) as (database, owner):
        entries = owner.execute("SELECT count(*) FROM journal").fetchone()

        applied = migrate(database, followers=FOLLOWERS)

        assert applied[0] == "0006.postings"
        assert owner.execute("SELECT count(*) FROM journal_entry").fetchone() == entries
        rows = dump(owner)
        assert rebuild(database).clean
        assert rows == dump(owner)
        assert owner.execute("SELECT to_regclass('journal')").fetchone() == (None,)
        shapes = "SELECT DISTINCT account, direction, amount_minor = 0 FROM journal_posting ORDER BY 1, 2, 3"
        assert owner.execute(shapes).fetchall() == [
            ("customer", "credit", False),
            ("customer", "credit", True),
            ("customer", "debit", False),
            ("fee_revenue", "credit", False),
            ("gateway_clearing", "credit", False),
            ("gateway_clearing", "debit", False),
            ("opening_equity", "debit", False),
        ]


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(steps_max=40, adjusts=False))
def test_whatever_happened_is_converted_as_a_rebuild_makes_it(postgres_url: str, history: History) -> None:
    """Row by row, in all read models. The older program knew no bookings of operators."""
    with older_store(postgres_url, history) as (database, _):
        migrate(database, followers=FOLLOWERS)

        done = rebuild(database, check_only=True)

        assert done.clean, done.differences


def test_a_converted_store_goes_on(postgres_url: str) -> None:
    """The projector follows from where the older program stood, with balances that go on from the old ones."""
    history, more = some_history(), some_history(30)
    with older_store(postgres_url, history) as (database, owner):
        migrate(database, followers=FOLLOWERS)
        append_rows(owner, more.rows[len(history.rows) :])

        with running(Projector(database)):
            wait_until(lambda: caught_up(owner))

        done = rebuild(database, check_only=True)
        unlike = {each.table for each in done.differences if each.differing or each.missing or each.surplus}
        assert unlike <= {"payment_end"}, "only a model that joined later waits for a rebuild"


def test_a_row_that_does_not_balance_is_not_converted(postgres_url: str) -> None:
    """No entry comes through that the new form would refuse; the store stays as it was."""
    with older_store(postgres_url, some_history()) as (database, owner):
        owner.execute("ALTER TABLE journal DROP CONSTRAINT journal_balanced")
        owner.execute("UPDATE journal SET fee_revenue_minor = fee_revenue_minor - 1 WHERE payment_id IS NOT NULL")

        with pytest.raises(psycopg.errors.CheckViolation):
            migrate(database, followers=FOLLOWERS)

        assert owner.execute("SELECT to_regclass('journal_entry')").fetchone() == (None,)
