"""A service for each test: the real application on a ledger of its own, and a client that speaks HTTP to it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import closing

import httpx
import pytest
from litestar import Litestar

from api.app import create_app
from ledger.database import Database
from ledger.settings import Settings
from tests.api.seeds import Seeds
from tests.databases import fresh_ledger

BASE_URL = "http://ledger.test"


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Give an empty ledger."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def settings() -> Settings:
    """Give settings as they are by default."""
    return Settings.load({})


@pytest.fixture
async def app(settings: Settings, database: Database) -> AsyncIterator[Litestar]:
    """Run the application."""
    app = create_app(settings, database)
    async with app.lifespan():
        yield app


@pytest.fixture
async def client(app: Litestar) -> AsyncIterator[httpx.AsyncClient]:
    """Speak to the application as a client does."""
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url=BASE_URL) as client:
        yield client


@pytest.fixture
def seeds(database: Database) -> Iterator[Seeds]:
    """Write rows of read models, as a projector would."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        yield Seeds(connection)
