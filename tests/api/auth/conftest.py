"""A service that asks for keys, with two users, a failed payment of the first, and a maker of keys."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from api.auth.key_store import create_key
from api.auth.keys import SCOPES, Scope
from api.settings import Settings
from ledger.domain.commands import Fail, OpenAccount, RecordGatewayOutcome, RequestDeposit
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger


class Keys:
    """Makes keys in a store, and gives the headers that send them."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def text(self, *scopes: Scope, users: tuple[int, ...] | None = None, lifetime: timedelta | None = None) -> str:
        """Make a key, with all scopes unless some are named, and return its text."""
        wanted = scopes or SCOPES
        return create_key(self.database, name="a test", scopes=wanted, users=users, lifetime=lifetime).text

    def make(
        self, *scopes: Scope, users: tuple[int, ...] | None = None, lifetime: timedelta | None = None
    ) -> dict[str, str]:
        """Make a key, and return the headers that send it."""
        return bearer(self.text(*scopes, users=users, lifetime=lifetime))


def bearer(text: str) -> dict[str, str]:
    """Return the headers that send a key."""
    return {"Authorization": f"Bearer {text}"}


def prepare(database: Database) -> None:
    """Open users 1 and 2, and let payment 1, a deposit of user 1, fail at the gateway."""
    writer = Writer(database)
    writer.start()
    for number in ("a", "b"):
        writer.submit(OpenAccount(command_id=number, opening=Decimal(1000), currency="USD")).result()
    writer.submit(
        RequestDeposit(command_id="c", account_id=1, amount=Decimal(5), fee_rate_ppm=20_000, idempotency_key="c")
    ).result()
    writer.submit(
        RecordGatewayOutcome(
            command_id="d",
            payment_id=1,
            account_id=1,
            seen_version=1,
            series=1,
            gateway_key="payment-1",
            attempt=1,
            outcome="declined",
            error="declined",
            then=Fail(),
        )
    ).result()
    writer.stop()


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Yield one prepared ledger for the whole file."""
    with fresh_ledger(postgres_url) as database:
        prepare(database)
        yield database


@pytest.fixture
def settings() -> Settings:
    """Return the settings of a service that asks for keys, with the demo gateway's routes."""
    return Settings.load({"AUTH": "required"}, command="serve")


@pytest.fixture
def keys(database: Database) -> Keys:
    """Return a maker of keys."""
    return Keys(database)
