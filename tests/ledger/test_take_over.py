"""The take-over: from then on a copy is the ledger, with every open payment where its events have left it."""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Final

import pytest

from ledger.audit import verify_store
from ledger.audit_export import export_to_stream
from ledger.audit_import import import_log
from ledger.database import Database
from ledger.errors import LogBroken, StoreInCharge
from ledger.take_over import CLOCKS_APART_MAX, LEASED_BY, TakenOver, take_over
from ledger.wakeup import listen_statement
from ledger.writer import Writer
from tests.databases import fresh_ledger
from tests.ledger.busy_ledger import EVENTS, OPEN_PAYMENTS, BusyLedger
from tests.ledger.kept_store import KeptStore, kept_store

QUEUE: Final = "SELECT * FROM gateway_queue ORDER BY payment_id"
NEVER_LOST: Final = (
    *("payment_id", "account_id", "kind", "amount_minor", "fee_minor", "currency", "series", "gateway_key", "action"),
    "unknown",
)


@pytest.fixture(scope="module")
def source(postgres_url: str) -> Iterator[KeptStore]:
    """A store with a bit of everything in it."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def imported(source: KeptStore, postgres_url: str) -> Iterator[KeptStore]:
    """A copy of it that is withheld."""
    exported = io.BytesIO()
    export_to_stream(source.database, exported)
    exported.seek(0)
    with (
        fresh_ledger(postgres_url) as database,
        closing(database.connect(application="test", owner=True)) as connection,
    ):
        import_log(database, exported)
        yield KeptStore(database, connection)


@pytest.fixture
def copy(imported: KeptStore) -> Iterator[KeptStore]:
    """The same, withheld again afterwards."""
    yield imported
    imported.restore()


def queue(store: KeptStore) -> dict[int, dict[str, Any]]:
    names = [
        name
        for (name,) in store.ask(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'gateway_queue'::regclass AND attnum > 0 ORDER BY attnum"
        )
    ]
    return {row[0]: dict(zip(names, row, strict=True)) for row in store.ask(QUEUE)}


def test_every_open_payment_waits_where_its_events_have_left_it(source: KeptStore, copy: KeptStore) -> None:
    """Only what no event tells is made anew: when a parked one is asked again, and after how many inquiries."""
    before = queue(source)

    done = take_over(copy.database)

    after = queue(copy)
    assert done == TakenOver(position=EVENTS, digest=verify_store(copy.database).digest, open_payments=OPEN_PAYMENTS)
    assert [{name: row[name] for name in NEVER_LOST} for row in before.values()] == [
        {name: row[name] for name in NEVER_LOST} for row in after.values()
    ]
    ((now,),) = copy.ask("SELECT now()")
    for payment_id, row in after.items():
        # A contradiction has not changed the entry of the payment that is called again, and counts in its version.
        assert row["payment_version"] - before[payment_id]["payment_version"] == (row["series"] == 2)
        if row["inquiries"]:
            assert (row["inquiries"], before[payment_id]["inquiries"]) == (1, 2)
            assert now - timedelta(minutes=1) < row["due_at"] <= now
        else:
            assert row["due_at"] == before[payment_id]["due_at"]


def test_a_call_that_may_be_under_way_elsewhere_counts_as_begun_and_lost(source: KeptStore, copy: KeptStore) -> None:
    """As a worker leaves it that dies in the middle; and one that was not due yet is as it was."""
    take_over(copy.database)

    before, after = queue(source), queue(copy)
    ((now,),) = copy.ask("SELECT now()")
    calls = {payment_id: row for payment_id, row in after.items() if row["action"] == "pay"}
    begun = {payment_id for payment_id, row in calls.items() if row["leased_by"] is not None}
    assert begun == {payment_id for payment_id, row in calls.items() if row["due_at"] <= now + CLOCKS_APART_MAX}
    assert 0 < len(begun) < len(calls)
    for payment_id, row in after.items():
        was_begun = payment_id in begun
        assert row["attempt"] == before[payment_id]["attempt"] + was_begun
        assert row["leased_by"] == (LEASED_BY if was_begun else None)
        assert not was_begun or row["leased_until"] <= now


def test_a_store_in_charge_is_proven_and_takes_commands(copy: KeptStore) -> None:
    """It goes on counting where the other has stopped, and knows every key."""
    take_over(copy.database)
    writer = Writer(copy.database)
    writer.start()
    ledger = BusyLedger(writer)

    assert verify_store(copy.database).ok
    assert ledger.deposit(1, key="approved").replayed
    assert ledger.open() == 6
    assert verify_store(copy.database).ok
    writer.stop()


def test_workers_and_projectors_are_woken(copy: KeptStore) -> None:
    """Nobody has to wait until they look by themselves."""
    with closing(copy.database.connect(application="test")) as connection:
        for topic in ("log", "queue"):
            connection.execute(listen_statement(copy.database, topic))

        take_over(copy.database)

        heard = {notify.channel.rpartition("_")[2] for notify in connection.notifies(timeout=10, stop_after=2)}
    assert heard == {"log", "queue"}


def test_an_empty_copy_can_be_taken_over(database: Database) -> None:
    """And is then an empty ledger."""
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute("UPDATE head SET withheld = true")

    assert take_over(database).open_payments == 0
    assert verify_store(database).ok


def test_a_store_in_charge_cannot_be_taken_over(source: KeptStore, copy: KeptStore) -> None:
    """Neither one that always was nor one that is now: its queue is not made again behind its back."""
    take_over(copy.database)
    before = queue(copy)

    for store in (source, copy):
        with pytest.raises(StoreInCharge):
            take_over(store.database)

    assert before == queue(copy)


def test_of_two_who_take_over_at_once_one_does(copy: KeptStore) -> None:
    """The other finds it done when it comes to the head's lock."""
    once: list[TakenOver] = []

    def be_quicker(*_: object) -> None:
        if not once:
            once.append(TakenOver(position=0, digest="", open_payments=0))
            once[0] = take_over(copy.database)

    with pytest.raises(StoreInCharge):
        take_over(copy.database, on_progress=be_quicker)

    assert once[0].open_payments == len(queue(copy)) == OPEN_PAYMENTS


def test_a_store_whose_head_vanishes_is_not_taken_over(copy: KeptStore) -> None:
    """There is nothing to lock."""
    with pytest.raises(StoreInCharge):
        take_over(copy.database, on_progress=lambda *_: copy.run("DELETE FROM head"))


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("UPDATE events SET state = state || ' ' WHERE notification_id = 77", 77),
        ("DELETE FROM events WHERE notification_id = 378", 378),
        ("INSERT INTO events VALUES ('account-9', 1, 'account.opened', '', 379, '')", 379),
    ],
)
def test_a_copy_whose_log_was_changed_is_not_taken_over(copy: KeptStore, change: str, position: int) -> None:
    """It stays withheld, and what is wrong is named."""
    copy.run(change)

    with pytest.raises(LogBroken) as broken:
        take_over(copy.database)

    assert broken.value.position == position
    assert copy.ask("SELECT withheld FROM head") == [(True,)]
    assert queue(copy) == {}


def test_a_copy_whose_snapshots_were_changed_is_not_taken_over(copy: KeptStore) -> None:
    """Its writer would begin with them."""
    copy.run("UPDATE snapshots SET state = '{' WHERE originator_id = 'account-5'")

    with pytest.raises(LogBroken, match="the snapshot of account-5 cannot be read"):
        take_over(copy.database)
