"""A schema for a simulated gateway, and one demo gateway that the tests of a file share."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from ledger.store.database import Database
from processors.gateways.client import Gateway
from tests.support.gateways.demo_client import DEADLINE_SECONDS, GOOD
from tests.support.gateways.demo_process import DemoGatewayProcess, fresh_book


@pytest.fixture
def book(postgres_url: str) -> Iterator[Database]:
    """Yield a schema for a gateway's book, not created yet."""
    with fresh_book(postgres_url) as database:
        yield database


@pytest.fixture(scope="module")
def shared_process(postgres_url: str) -> Iterator[DemoGatewayProcess]:
    """Yield one demo gateway without faults, for all tests that need no book of their own."""
    with fresh_book(postgres_url) as database, DemoGatewayProcess(database, GOOD) as process:
        yield process


@pytest.fixture
async def http(shared_process: DemoGatewayProcess) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a plain HTTP client of the shared gateway, with a long time-out."""
    async with httpx.AsyncClient(base_url=shared_process.url, trust_env=False, timeout=30) as client:
        yield client


@pytest.fixture
async def gateway(shared_process: DemoGatewayProcess) -> AsyncIterator[Gateway]:
    """Yield our own client of the shared gateway."""
    async with Gateway(shared_process.url, timeout_seconds=DEADLINE_SECONDS) as client:
        yield client
