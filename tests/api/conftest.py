"""A service for each test: the real application on a ledger of its own, and a client that speaks HTTP to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.support.databases import fresh_ledger
from tests.support.seeds import Seeds

BASE_URL = "http://localhost"


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture(autouse=True)
def patient(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each request a minute for its reads in the tests of routes, which are about answers on any machine.

    A module about deadlines has its own fixture of this name.
    """
    if request.path.parent.name == "resources":
        monkeypatch.setattr("api.http.deadlines.READ_SECONDS_MAX", 60.0)


@pytest.fixture
def settings() -> Settings:
    """Return the default settings, with a gateway that is not there: no test may ask that of another service."""
    return Settings.load({"DEMO_GATEWAY_PORT": "9"})


@pytest.fixture
async def app(settings: Settings, database: Database) -> AsyncIterator[Litestar]:
    """Run the application."""
    app = create_app(settings, Partitions.whole(database))
    async with app.lifespan():
        yield app


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the application."""
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def seeds(database: Database) -> Iterator[Seeds]:
    """Yield a writer of read model rows, in place of a projector."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        yield Seeds(connection)
