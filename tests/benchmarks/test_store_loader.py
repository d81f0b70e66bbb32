"""The loader creates a store like one that the ledger wrote: it can be verified and continued."""

from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

from ledger.command_ids import new_key_salt
from ledger.domain.commands import RequestDeposit
from ledger.domain.identifiers import account_stream
from ledger.store.database import Database
from ledger.writer.writer import Writer
from projections.engine.rebuild import rebuild
from tests.benchmarks.load.store_loader import Store, load_store
from tests.benchmarks.measuring.verification import verify, wait_until_settled

STORE = Store(events=20_000, accounts=100, long_account=2_000)


def test_a_loaded_store_is_whole_and_goes_on(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seals, histories, snapshots, keys, head, queue and rebuilt read models are right, and a new payment settles."""
    monkeypatch.setattr("ledger.writer.batch_view.new_key_salt", new_key_salt)  # tests have none, and services do
    loaded = load_store(database, STORE)
    rebuild(database)
    assert loaded.events == verify(tmp_path, database)

    writer = Writer(database)
    writer.start()
    deposit = RequestDeposit(
        command_id="test", account_id=1, amount=Decimal(5), fee_rate_ppm=20_000, idempotency_key="new"
    )
    accepted = writer.submit(deposit).result(10)
    replayed = writer.submit(deposit).result(10)
    writer.stop()

    assert accepted.payment_id == replayed.payment_id
    assert loaded.events + 1 == verify(tmp_path, database)


def test_a_loaded_store_has_the_size_and_the_shape_that_was_asked_for(database: Database) -> None:
    """All payments are settled. One account has about as many events as it should, and snapshots between them."""
    loaded = load_store(database, STORE)
    rebuild(database)

    with closing(database.connect(application="test", owner=True)) as connection:
        wait_until_settled(connection, seconds=0)
        of_the_long_one = connection.execute(
            "SELECT count(*) FROM events WHERE originator_id = %s", [account_stream(1)]
        ).fetchall()[0][0]
        snapshots = connection.execute(
            "SELECT max(originator_version - before) FROM (SELECT originator_version, lag(originator_version, 1, 0)"
            " OVER (ORDER BY originator_version) AS before FROM snapshots WHERE originator_id = %s) AS s",
            [account_stream(1)],
        ).fetchall()[0][0]
        accounts = connection.execute("SELECT count(*) FROM account_balance").fetchall()[0][0]

    assert STORE.accounts == accounts
    assert 0 <= loaded.events - STORE.events < 5_000
    assert 0.8 * STORE.long_account < of_the_long_one < 1.4 * STORE.long_account
    assert snapshots < 1_000
