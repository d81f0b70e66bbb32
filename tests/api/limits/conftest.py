"""A service that limits its callers, with the users, the payment and the keys of the tests of keys."""

import time

import pytest
from litestar import Litestar

from api.context import AppContext
from api.limits.budgets import Charge, MemoryBudgets, Rate
from api.settings import Settings
from tests.api.auth.conftest import database, keys

__all__ = ["database", "keys"]

QUOTA = 1_000
"""So many requests a second, and payments a minute, that no test uses them up by itself."""

HOUR_SECONDS = 3600.0


@pytest.fixture
def settings() -> Settings:
    """Return the settings of a service with both rates."""
    environ = {"LIMIT_REQUESTS_PER_SECOND": str(QUOTA), "LIMIT_PAYMENTS_PER_MINUTE": str(QUOTA)}
    return Settings.load({"AUTH": "required", **environ}, command="serve")


def use_up(app: Litestar, caller: str, name: str, window_seconds: int, *, quota: int = QUOTA) -> None:
    """Let a caller have used up a rate in an hour from now, which counts as now and stays so for that hour."""
    context: AppContext = app.state["context"]
    assert isinstance(context.budgets, MemoryBudgets)
    later = time.monotonic() + HOUR_SECONDS
    context.budgets.take(caller, [Charge(Rate(name, quota, window_seconds), quota)], now=later)
