"""A rehearsal tells the effect of commands now, as the writer then decides them, and writes nothing."""

import pytest

from ledger.domain.commands import Fail, RequeuePayment, ResolvePayment
from ledger.domain.decision import Decision
from ledger.errors import IdempotencyKeyReused, InsufficientFunds, LogBroken, PaymentNotFound
from ledger.store.database import Database
from ledger.writer import rehearsal
from ledger.writer.rehearsal import rehearse
from ledger.writer.writer import Writer
from tests.support.databases import execute
from tests.support.ledgers.running_writer import opening, outcome, withdrawal

LOG = "SELECT count(*), max(notification_id) FROM events"


def requeuing(payment_id: int, key: str | None = None) -> RequeuePayment:
    """A requeue."""
    return RequeuePayment(command_id="q", payment_id=payment_id, why="again", idempotency_key=key)


@pytest.fixture
def two_failed(writer: Writer) -> list[int]:
    """Two withdrawals of one user failed; the money suffices for one of them."""
    writer.submit(opening("100")).result()
    made = []
    for _ in range(2):
        payment_id = writer.submit(withdrawal("60")).result().payment_id
        writer.submit(outcome(payment_id, outcome="declined", then=Fail("gateway_error_400"))).result()
        made.append(payment_id)
    return made


def test_each_command_sees_those_before_it_and_nothing_is_written(
    database: Database, writer: Writer, two_failed: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer then does the same. Streams are read in parts."""
    monkeypatch.setattr(rehearsal, "STREAMS_AT_ONCE", 1)
    before = execute(database, LOG)

    first, second, third = rehearse(database, [*map(requeuing, two_failed), requeuing(7)])

    assert execute(database, LOG) == before
    assert isinstance(first.result, Decision)
    assert first.payment is not None
    assert (first.payment.letter, first.result.answer.state) == ("failed", "processing")
    assert isinstance(second.result, InsufficientFunds)
    assert (third.payment, type(third.result)) == (None, PaymentNotFound)
    assert writer.submit(requeuing(two_failed[0])).result() == first.result.answer
    with pytest.raises(InsufficientFunds):
        writer.submit(requeuing(two_failed[1])).result()


def test_it_knows_the_idempotency_keys(database: Database, writer: Writer, two_failed: list[int]) -> None:
    """A key that was used is a replay, or a refusal for another decision."""
    writer.submit(requeuing(two_failed[0], "k")).result()
    other = ResolvePayment(command_id="r", payment_id=two_failed[0], outcome="failed", why="done", idempotency_key="k")

    replayed, reused = rehearse(database, [requeuing(two_failed[0], "k"), other])

    assert isinstance(replayed.result, Decision)
    assert (replayed.result.answer.replayed, replayed.result.planned) == (True, ())
    assert isinstance(reused.result, IdempotencyKeyReused)


def test_a_store_without_its_head_is_broken(database: Database) -> None:
    """As for the writer."""
    execute(database, "DELETE FROM log_head", owner=True)

    with pytest.raises(LogBroken):
        rehearse(database, [requeuing(1)])
