"""Whatever the rules let happen is proven, and comes out of a move the same: no audit cries wolf."""

import io
from collections.abc import Iterator
from contextlib import closing
from copy import copy
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.audit import verify_store
from ledger.audit_export import export_to_stream
from ledger.audit_import import import_log
from ledger.log import SQL as LOG
from ledger.log import Head
from ledger.storing import Storing
from ledger.take_over import take_over
from tests.databases import fresh_ledger
from tests.ledger.kept_store import KeptStore
from tests.projections.histories import History, histories

AS_EVENTS_TELL: Final = (
    "SELECT payment_id, account_id, kind, amount_minor, fee_minor, currency, series, gateway_key, action, unknown"
    " FROM gateway_queue ORDER BY payment_id"
)


@pytest.fixture(scope="module")
def stores(postgres_url: str) -> Iterator[list[KeptStore]]:
    """Two empty stores."""
    with (
        fresh_ledger(postgres_url) as one,
        fresh_ledger(postgres_url) as other,
        closing(one.connect(application="test", owner=True)) as first,
        closing(other.connect(application="test", owner=True)) as second,
    ):
        yield [KeptStore(one, first), KeptStore(other, second)]


def store_history(store: KeptStore, history: History) -> None:
    """Write all that a history comes to, as a writer would in one batch."""
    with closing(store.database.connect(application="test")) as connection, connection.transaction():
        row: tuple[Any, ...] | None = connection.execute(LOG["lock_head"]).fetchone()
        assert row is not None
        with connection.pipeline():
            storing = Storing(connection, Head(*row), copy(history.books))  # which takes what is in them
            storing.send()
            storing.end()
        storing.check()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(history=histories(steps_max=50), data=st.data())
def test_whatever_may_happen_is_proven_in_whole_and_in_part_and_can_be_moved(
    stores: list[KeptStore], history: History, data: st.DataObject
) -> None:
    """Late answers, contradictions and an operator's decisions included; the copy takes over with the same queue."""
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
    withheld = verify_store(copy.database)
    take_over(copy.database)
    in_charge = verify_store(copy.database)

    assert (whole.errors, part.errors, withheld.errors, in_charge.errors) == ([], [], [], [])
    assert {whole.digest} == {withheld.digest, in_charge.digest}
    assert source.ask(AS_EVENTS_TELL) == copy.ask(AS_EVENTS_TELL)
