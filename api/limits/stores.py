"""Where budgets are kept: in the memory of the process, or in a Redis that all processes share."""

from importlib import import_module
from importlib.util import find_spec

from api.limits.budgets import Budgets, MemoryBudgets
from api.settings import Settings, SettingsError

_NO_LIBRARY = (
    "LIMIT_STORE_URL is set, and the library for Redis is not installed; install payment-ledger[redis], or leave the"
    " setting out, and each process counts by itself"
)


def budgets_of(settings: Settings) -> Budgets | None:
    """Make the budgets of callers; None when no rate is limited. Raises SettingsError."""
    if not (settings.limit_requests_per_second or settings.limit_payments_per_minute):
        return None
    if settings.limit_store_url is None:
        return MemoryBudgets()
    if find_spec("redis") is None:
        raise SettingsError(problems=(_NO_LIBRARY,))
    # Only a service with this setting has the library.
    budgets: Budgets = import_module("api.limits.redis_budgets").RedisBudgets(settings.limit_store_url)
    return budgets
