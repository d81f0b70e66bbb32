"""A position that an audit was asked about and that the log does not have is a finding."""

from collections.abc import Callable, Iterator

import pytest

from ledger.audit.findings import AuditReport
from ledger.audit.verify import verify_seals, verify_store
from ledger.store.database import Database
from tests.support.ledgers.busy import EVENTS
from tests.support.ledgers.kept import KeptStore, found, kept_store, where

Verify = Callable[..., AuditReport]


@pytest.fixture(scope="module")
def store(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(params=[verify_seals, verify_store])
def verify(request: pytest.FixtureRequest) -> Verify:
    """Return the audit of the seals, and that of the whole store."""
    kind: Verify = request.param
    return kind


@pytest.mark.parametrize(
    ("start", "upto", "asked"),
    [
        (EVENTS + 1, None, EVENTS + 1),
        (999_999, None, 999_999),
        (1, EVENTS + 1, EVENTS + 1),
        (EVENTS, 999_999, 999_999),
        (EVENTS + 1, EVENTS + 9, EVENTS + 9),
    ],
)
def test_a_position_that_is_not_there_is_found(
    store: KeptStore, verify: Verify, start: int, upto: int | None, asked: int
) -> None:
    """An audit that is asked about a position does not prove a log that ends before it."""
    report = verify(store.database, start=start, upto=upto)

    assert found(report)[0] == (asked, f"the log has no such position, it ends at {EVENTS}")


def test_a_position_of_an_empty_log_is_found(database: Database, verify: Verify) -> None:
    """The whole of an empty log is verified, and no position of it."""
    assert verify(database, start=1).ok
    assert where(verify(database, upto=1)) == [1]
    assert where(verify(database, start=2)) == [2]
