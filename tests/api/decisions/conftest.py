"""A ledger with a running writer beside the application, and a gateway that answers by a script."""

from collections.abc import Iterator

import pytest

from api.settings import Settings
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.gateways.scripted import OK, ScriptedGateway


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    """Yield a gateway; a test writes the answers to inquiries into its script."""
    with ScriptedGateway(calls=[OK]) as gateway:
        yield gateway


@pytest.fixture
def settings(gateway: ScriptedGateway) -> Settings:
    """Return the settings of a service that asks this gateway."""
    return Settings.load({"PAYMENT_GATEWAY_URL": gateway.url})


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Give a running writer, in the place of a worker."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()
