"""A store is retired only when its copy has its whole log, and then never starts again."""

import io
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import NamedTuple

import psycopg
import pytest

from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount
from ledger.errors import StoreInactive, StoreRetired
from ledger.export.activate import activate
from ledger.export.errors import CopyBehind, NotThePredecessor
from ledger.export.exporter import export_to_stream
from ledger.export.importer import import_log
from ledger.export.retire import check_not_retired, retire
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import execute, fresh_ledger
from tests.support.ledgers.busy import EVENTS, OPEN_PAYMENTS, fill


class Pair(NamedTuple):
    """A store that is in charge, its running writer, and its copy."""

    old: Database
    writer: Writer
    copy: Database


@pytest.fixture
def pair(postgres_url: str) -> Iterator[Pair]:
    """Yield a busy ledger whose writer still runs, and a whole copy of it."""
    exported = io.BytesIO()
    with fresh_ledger(postgres_url) as old, fresh_ledger(postgres_url) as copy:
        writer = Writer(old)
        writer.start()
        fill(writer)
        export_to_stream(old, exported)
        exported.seek(0)
        import_log(copy, exported)
        yield Pair(old, writer, copy)
        writer.stop()


def open_account(writer: Writer) -> None:
    writer.submit(OpenAccount(command_id="later", opening=Decimal(1), currency="USD")).result(30)


def calls(database: Database) -> int:
    with closing(database.connect(application="test", owner=True)) as connection:
        row = connection.execute("SELECT count(*) FROM gateway_queue").fetchone()
        assert row is not None
        return int(row[0])


def test_a_retired_store_never_starts_again(pair: Pair) -> None:
    """The error names the successor, and neither an activation nor another look changes it."""
    retire(pair.old, pair.copy, successor="the new place")

    for _ in range(2):
        with pytest.raises(StoreRetired, match="the new place"):
            check_not_retired(pair.old)
        with pytest.raises(StoreRetired, match="the new place"):
            activate(pair.old)


def test_a_running_writer_of_a_retired_store_is_refused(pair: Pair) -> None:
    """It was running before, and writes nothing more."""
    retire(pair.old, pair.copy, successor="new")

    with pytest.raises(StoreInactive):
        open_account(pair.writer)
    assert verify_store(pair.old).position == EVENTS


def test_a_retired_store_calls_no_gateway_and_stays_whole(pair: Pair) -> None:
    """Its queue is empty, and an audit finds nothing wrong with it."""
    retire(pair.old, pair.copy, successor="new")

    assert calls(pair.old) == 0
    assert verify_store(pair.old).errors == []


def test_the_successor_takes_over_with_all_open_payments(pair: Pair) -> None:
    """No number needs to be left out, because the old store gives none."""
    retire(pair.old, pair.copy, successor="new")
    done = activate(pair.copy, skip=0)

    assert (done.position, done.open_payments, done.skipped) == (EVENTS + 1, OPEN_PAYMENTS, 0)
    check_not_retired(pair.copy)


def test_a_store_with_more_events_than_its_copy_is_left_as_it_is(pair: Pair) -> None:
    """An acknowledged command would be lost."""
    open_account(pair.writer)

    with pytest.raises(CopyBehind) as refused:
        retire(pair.old, pair.copy, successor="new")

    assert (refused.value.position, refused.value.copied) == (EVENTS + 1, EVENTS)
    check_not_retired(pair.old)
    open_account(pair.writer)


def test_another_ledger_is_not_retired(pair: Pair, postgres_url: str) -> None:
    """A mistyped address must not withdraw the ledger that is there."""
    with fresh_ledger(postgres_url) as other:
        with pytest.raises(NotThePredecessor, match="another ledger"):
            retire(other, pair.copy, successor="new")
        check_not_retired(other)


def test_a_log_that_took_another_way_is_not_retired(pair: Pair) -> None:
    """The copy was put in charge before, and both have events since."""
    activate(pair.copy, skip=0)
    open_account(pair.writer)

    with pytest.raises(NotThePredecessor, match=f"position {EVENTS + 1}"):
        retire(pair.old, pair.copy, successor="new")
    check_not_retired(pair.old)


def test_a_copy_is_not_retired(pair: Pair) -> None:
    """It was never in charge; this is also the answer when a copy is told to retire itself."""
    with pytest.raises(StoreInactive):
        retire(pair.copy, pair.copy, successor="new")
    check_not_retired(pair.copy)


def test_a_take_over_that_failed_after_it_is_repeated(pair: Pair) -> None:
    """The store was retired at the same event, so nothing is left to do there."""
    retire(pair.old, pair.copy, successor="new")
    retire(pair.old, pair.copy, successor="new")

    assert activate(pair.copy, skip=0).position == EVENTS + 1


def test_the_service_may_not_take_a_retirement_back(pair: Pair) -> None:
    """Its role may read the row and nothing more."""
    retire(pair.old, pair.copy, successor="new")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        execute(pair.old, "DELETE FROM store_retirement")
