"""A service over four partitions, with a writer of read model rows for each, in place of a projector."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, closing

import pytest
from litestar import Litestar
from msgspec.structs import replace

from api.app import create_app
from api.settings import Settings
from ledger.partition.partition import Partitions
from tests.support.databases import fresh_partitions
from tests.support.seeds import Seeds

NOWHERE = "postgresql://127.0.0.1:1/none?connect_timeout=2"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each request a minute for its reads: these tests are about answers, on any machine."""
    monkeypatch.setattr("api.http.deadlines.READ_SECONDS_MAX", 60.0)


@pytest.fixture
def partitions(postgres_url: str, request: pytest.FixtureRequest) -> Iterator[Partitions]:
    """Yield an empty ledger with four partitions, or as many as a test asks for."""
    with fresh_partitions(postgres_url, getattr(request, "param", 4)) as partitions:
        yield partitions


@pytest.fixture
def partition_seeds(partitions: Partitions) -> Iterator[list[Seeds]]:
    """Yield a writer of read model rows for each partition."""
    with ExitStack() as stack:
        connect = (partition.database.connect(application="payment-ledger tests") for partition in partitions)
        yield [Seeds(stack.enter_context(closing(connection))) for connection in connect]


@pytest.fixture
def served(partitions: Partitions) -> Partitions:
    """Return the partitions as the service reaches them: a class of tests lets one be away."""
    return partitions


@pytest.fixture
async def app(settings: Settings, served: Partitions) -> AsyncIterator[Litestar]:
    """Run the application over the partitions."""
    app = create_app(settings, served)
    async with app.lifespan():
        yield app


def without(partitions: Partitions, number: int) -> Partitions:
    """Return a ledger of which one partition has a database that nobody serves."""
    return Partitions(
        [
            replace(each, database=replace(each.database, url=NOWHERE)) if each.number == number else each
            for each in partitions
        ]
    )
