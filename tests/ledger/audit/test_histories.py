"""Any history that the rules allow is verified without findings, and survives an export and import."""

import io
from collections.abc import Iterator
from contextlib import closing
from copy import copy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.audit.verify import verify_store
from ledger.export.activate import activate
from ledger.export.exporter import export_to_stream
from ledger.export.importer import import_log
from ledger.store.log import SQL as LOG
from ledger.store.log import Head
from ledger.writer.batch_inserts import BatchInserts
from tests.support.databases import fresh_ledger
from tests.support.histories import History, histories
from tests.support.ledgers.kept import KeptStore

AS_EVENTS_TELL: Final = (
    "SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, action, unknown"
    " FROM gateway_queue ORDER BY payment_id"
)


@pytest.fixture(scope="module")
def stores(postgres_url: str) -> Iterator[list[KeptStore]]:
    """Yield two empty stores."""
    with (
        fresh_ledger(postgres_url) as one,
        fresh_ledger(postgres_url) as other,
        closing(one.connect(application="test", owner=True)) as first,
        closing(other.connect(application="test", owner=True)) as second,
    ):
        yield [KeptStore(one, first), KeptStore(other, second)]


def store_history(store: KeptStore, history: History) -> None:
    """Write all effects of a history as the writer would in one batch."""
    with closing(store.database.connect(application="test")) as connection, connection.transaction():
        row: tuple[Any, ...] | None = connection.execute(LOG["lock_head"]).fetchone()
        assert row is not None
        with connection.pipeline():
            storing = BatchInserts(connection, Head(*row), copy(history.cache))  # a copy, because storing consumes it
            storing.send()
            storing.end()
        storing.check()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(steps_max=50), data=st.data())
def test_any_history_verifies_in_whole_and_in_part_and_can_be_moved(
    stores: list[KeptStore], history: History, data: st.DataObject
) -> None:
    """Late answers, contradictions and operators' decisions are included, and the activated copy has the same queue."""
    source, copy = stores
    for store in stores:
        store.restore()
    store_history(source, history)
    exported = io.BytesIO()

    whole = verify_store(source.database)
    start = data.draw(st.integers(1, len(history.rows)))
    part = verify_store(source.database, start=start, upto=data.draw(st.integers(start, len(history.rows))))
    export_to_stream(source.database, exported)
    exported.seek(0)
    import_log(copy.database, exported)
    inactive = verify_store(copy.database)
    activate(copy.database)
    in_charge = verify_store(copy.database)

    assert (whole.errors, part.errors, inactive.errors, in_charge.errors) == ([], [], [], [])
    assert (whole.digest, in_charge.events) == (inactive.digest, inactive.events + 1)
    assert source.ask(AS_EVENTS_TELL) == copy.ask(AS_EVENTS_TELL)
