"""The limit of payments that have not ended, on a real store: exact, however many requests and writers there are."""

from decimal import Decimal

import pytest

from ledger.application.application import Ledger
from ledger.domain.commands import RequestDeposit, RequestWithdrawal, Succeed
from ledger.errors import TooManyWaiting
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import execute
from tests.support.ledgers.running_writer import FEE_RATE_PPM, answer, given_account, outcome

LIMIT = 5


def request(number: int, key: str | None = None) -> RequestDeposit | RequestWithdrawal:
    """Request a payment of user 1, of either kind, with the limit."""
    return (RequestDeposit, RequestWithdrawal)[number % 2](
        command_id=f"{number}",
        account_id=1,
        amount=Decimal(1),
        fee_rate_ppm=FEE_RATE_PPM,
        idempotency_key=key,
        waiting_max=LIMIT,
    )


def test_two_writers_never_take_more_than_the_limit(database: Database) -> None:
    """Of 200 requests at once, exactly as many are taken; the others leave no trace."""
    writers = [Writer(database, batch_max=7), Writer(database, batch_max=7)]
    for one in writers:
        one.start()
    given_account(writers[0])

    errors = [writers[n % 2].submit(request(n, key=f"k{n}")).exception(30) for n in range(200)]
    together = [writers[n % 2].submit(request(n)) for n in range(200)]
    assert all(isinstance(each.exception(30), TooManyWaiting) for each in together)
    for one in writers:
        one.stop()

    assert [error is None for error in errors] == [True] * LIMIT + [False] * (200 - LIMIT)
    assert {type(error) for error in errors[LIMIT:]} == {TooManyWaiting}
    assert execute(database, "SELECT count(*) FROM idempotency_keys") == [(LIMIT,)]
    assert execute(database, "SELECT count(*) FROM gateway_queue") == [(LIMIT,)]


@pytest.mark.parametrize("capacity", [100, 1], ids=["cached", "not cached"])
def test_an_end_makes_room_for_the_same_key(database: Database, capacity: int) -> None:
    """Also when another writer has recorded the end, and the account is not in the cache."""
    writer, other = Writer(database, cache_capacity=capacity), Writer(database)
    writer.start()
    other.start()
    given_account(writer)
    given_account(writer)
    futures = [writer.submit(request(n)) for n in range(LIMIT)]
    payments = [answer(future) for future in futures]

    refused = writer.submit(request(0, key="k")).exception(30)
    first = Ledger(database).payment(payments[0].payment_id)
    answer(other.submit(outcome(first.payment_id, gateway_key=first.gateway_key, then=Succeed())))
    accepted = answer(writer.submit(request(0, key="k")))
    full = writer.submit(request(0)).exception(30)
    writer.stop()
    other.stop()

    assert isinstance(refused, TooManyWaiting)
    assert not accepted.replayed
    assert isinstance(full, TooManyWaiting)
