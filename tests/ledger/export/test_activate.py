"""Activating a copy: from then on it is the ledger, and each open payment is queued as its events say."""

import io
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Final

import pytest

from ledger.audit.verify import verify_store
from ledger.domain.identifiers import SLOTS
from ledger.errors import LogBroken
from ledger.export.activate import Activated, activate
from ledger.export.errors import StoreInCharge
from ledger.export.exporter import export_to_stream
from ledger.export.importer import import_log
from ledger.recovery.recover import LEASED_BY, recover_if_behind
from ledger.store.database import Database, SessionSettings
from ledger.store.notifications import listen_statement
from ledger.writer.writer import Writer
from tests.support.databases import execute, fresh_ledger
from tests.support.ledgers.busy import EVENTS, OPEN_PAYMENTS, QUEUED, BusyLedger
from tests.support.ledgers.kept import KeptStore, kept_store

QUEUE: Final = "SELECT * FROM gateway_queue ORDER BY payment_id"
NEVER_LOST: Final = (
    *("payment_id", "account_id", "kind", "amount_minor", "fee_minor", "currency", "series", "gateway_key", "action"),
    "unknown",
)


@pytest.fixture(scope="module")
def source(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def imported(source: KeptStore, postgres_url: str) -> Iterator[KeptStore]:
    """Yield an inactive copy of it."""
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
    """Yield the same copy, and restore it afterwards."""
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


def test_every_open_payment_is_queued_as_its_events_say(source: KeptStore, copy: KeptStore) -> None:
    """Only facts that are in no event change: the next inquiry of a parked payment, and the number of its inquiries."""
    before = queue(source)

    done = activate(copy.database, skip=7)

    after = queue(copy)
    assert done == Activated(
        position=EVENTS + 1, digest=verify_store(copy.database).digest, open_payments=OPEN_PAYMENTS, skipped=7
    )
    assert [{name: row[name] for name in NEVER_LOST} for row in before.values()] == [
        {name: row[name] for name in NEVER_LOST} for row in after.values()
    ]
    ((now,),) = copy.ask("SELECT now()")
    for payment_id, row in after.items():
        # A contradiction does not change the entry of a requeued payment, but counts in its version.
        assert row["payment_version"] - before[payment_id]["payment_version"] == (
            (row["series"], row["action"]) == (2, "pay")
        )
        if row["inquiries"]:
            assert (row["inquiries"], before[payment_id]["inquiries"]) == (1, 2)
            assert now - timedelta(minutes=1) < row["due_at"] <= now
        else:
            assert row["due_at"] == before[payment_id]["due_at"]


def test_a_call_that_the_source_may_have_made_counts_as_lost(source: KeptStore, copy: KeptStore) -> None:
    """Such an entry looks as if its worker had died during the call, whenever the call is due by this store."""
    activate(copy.database)

    before, after = queue(source), queue(copy)
    ((now,),) = copy.ask("SELECT now()")
    begun = {payment_id for payment_id, row in after.items() if row["action"] == "pay"}
    assert 0 < len(begun) < len(after)
    assert any(row["due_at"] > now + timedelta(minutes=1) for row in after.values())
    for payment_id, row in after.items():
        was_begun = payment_id in begun
        assert row["attempt"] == before[payment_id]["attempt"] + was_begun
        assert row["leased_by"] == (LEASED_BY if was_begun else None)
        assert not was_begun or row["leased_until"] <= now


def test_an_active_copy_verifies_and_accepts_commands(copy: KeptStore) -> None:
    """Ids continue behind those that the source may have given, and every key is known."""
    activate(copy.database, skip=1)
    writer = Writer(copy.database)
    writer.start()
    ledger = BusyLedger(writer)

    assert verify_store(copy.database).ok
    assert ledger.deposit(1, key="approved").replayed
    assert ledger.open() == 6 + SLOTS
    assert verify_store(copy.database).ok
    writer.stop()


def test_workers_and_projectors_are_notified(copy: KeptStore) -> None:
    """They need not wait for their next poll."""
    with closing(copy.database.connect(application="test")) as connection:
        for topic in ("log", "queue"):
            connection.execute(listen_statement(copy.database, topic))

        activate(copy.database)

        heard = {notify.channel.rpartition("_")[2] for notify in connection.notifies(timeout=10, stop_after=2)}
    assert heard == {"log", "queue"}


def test_an_empty_copy_can_be_activated(database: Database) -> None:
    """It is an empty ledger afterwards."""
    with closing(database.connect(application="test", owner=True)) as connection:
        connection.execute("UPDATE log_head SET inactive = true")

    assert activate(database).open_payments == 0
    assert verify_store(database).ok


def test_an_active_store_cannot_be_activated(source: KeptStore, copy: KeptStore) -> None:
    """Neither the source nor an activated copy can be activated, so no queue is rebuilt while it is in use."""
    activate(copy.database)
    before = queue(copy)

    for store in (source, copy):
        with pytest.raises(StoreInCharge):
            activate(store.database)

    assert before == queue(copy)


def test_of_two_concurrent_activations_one_succeeds(copy: KeptStore) -> None:
    """The other one finds the store active once it gets the head's lock."""
    once: list[Activated] = []

    def be_quicker(*_: object) -> None:
        if not once:
            once.append(Activated(position=0, digest="", open_payments=0, skipped=0))
            once[0] = activate(copy.database)

    with pytest.raises(StoreInCharge):
        activate(copy.database, on_progress=be_quicker)

    assert (once[0].open_payments, len(queue(copy))) == (OPEN_PAYMENTS, QUEUED)


def test_a_store_whose_head_vanishes_is_not_activated(copy: KeptStore) -> None:
    """Without a head the copy cannot be locked."""
    with pytest.raises(StoreInCharge):
        activate(copy.database, on_progress=lambda *_: copy.run("DELETE FROM log_head"))


@pytest.mark.parametrize(
    ("change", "position"),
    [
        ("UPDATE events SET state = state || ' ' WHERE notification_id = 77", 77),
        (f"DELETE FROM events WHERE notification_id = {EVENTS}", EVENTS),
        (f"INSERT INTO events VALUES ('account-9', 1, 'account.opened', '', {EVENTS + 1}, '')", EVENTS + 1),
    ],
)
def test_a_copy_whose_log_was_changed_is_not_activated(copy: KeptStore, change: str, position: int) -> None:
    """It stays inactive, and the fault is named."""
    copy.run(change)

    with pytest.raises(LogBroken) as broken:
        activate(copy.database)

    assert broken.value.position == position
    assert copy.ask("SELECT inactive FROM log_head") == [(True,)]
    assert queue(copy) == {}


def test_a_copy_whose_snapshots_were_changed_is_not_activated(copy: KeptStore) -> None:
    """The writer would start from the wrong snapshots."""
    copy.run("UPDATE snapshots SET state = '{' WHERE originator_id = 'account-5'")

    with pytest.raises(LogBroken, match="the snapshot of account-5 cannot be read"):
        activate(copy.database)


class ClusterDatabase(Database, frozen=True):
    """A ledger in a database of several nodes: administration goes to a coordinator, which names itself."""

    def settings(self, *, owner: bool = False, options: SessionSettings | None = None) -> dict[str, str]:
        """Return the settings of a session; those of administration find the coordinator's name before Postgres'."""
        path = {"search_path": f"{self.schema}, pg_catalog"} if owner else {}
        return {**super().settings(owner=owner, options=options), **path}


def test_writers_of_another_node_find_the_store_where_the_take_over_noted_it(postgres_url: str) -> None:
    """Or the first of them would recover it again, and leave a gap that nobody asked for."""
    with fresh_ledger(postgres_url) as plain:
        execute(
            plain,
            "CREATE FUNCTION pg_control_system() RETURNS TABLE (system_identifier bigint) LANGUAGE sql"
            " AS $$ SELECT 1::bigint $$; UPDATE log_head SET inactive = true",
            owner=True,
        )
        database = ClusterDatabase(plain.url, plain.schema)

        done = activate(database, skip=0)

        assert done.skipped == 0
        assert recover_if_behind(database) is None
