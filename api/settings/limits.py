"""The settings that limit callers: the last group of the table of settings."""

from dataclasses import dataclass

from api.settings.declaration import setting
from api.settings.parsers import REDIS_URL, whole
from api.settings.table import Table


@dataclass(frozen=True, kw_only=True)
class TableWithLimits(Table):
    """The whole table of settings."""

    limit_requests_per_second: int = setting(
        "LIMIT_REQUESTS_PER_SECOND",
        whole(0, 1_000_000),
        "0",
        "How many requests a second each key may send; a caller without one, each client address. 0: any number.",
        unit="requests",
        heading="limits",
    )
    limit_payments_per_minute: int = setting(
        "LIMIT_PAYMENTS_PER_MINUTE",
        whole(0, 1_000_000_000),
        "0",
        "How many payments a minute each key may request, each one of a batch counted; a caller without one, each"
        " client address. 0: any number.",
        unit="payments",
    )
    limit_store_url: str | None = setting(
        "LIMIT_STORE_URL",
        REDIS_URL,
        None,
        "A Redis in which all API processes count together, for the two limits above. It needs the extra `redis`."
        " Unset: each process counts by itself, so N processes allow N times as much.",
        secret=True,
    )
    limit_waiting_payments: int = setting(
        "LIMIT_WAITING_PAYMENTS",
        whole(0, 1_000_000),
        "0",
        "How many payments of one user may wait for their end at a time; a further request gets a 429. 0: any number.",
        unit="payments",
    )
    limit_requests_at_once: int = setting(
        "LIMIT_REQUESTS_AT_ONCE",
        whole(1, 1_000_000),
        "256",
        "How many requests one API process handles at a time; further ones get a 503 at once.",
        unit="requests",
    )
    limit_connections: int = setting(
        "LIMIT_CONNECTIONS",
        whole(1, 1_000_000),
        "4096",
        "How many connections one API process keeps open; further ones wait until one is closed.",
        unit="connections",
    )
