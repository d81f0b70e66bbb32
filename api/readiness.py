"""Tells whether a part of the service that runs on this machine is ready; quick, for health checks ask often.

The API and the demo gateway are asked over HTTP. A worker and a projector leave heartbeats in the database, named after
host and process, so that one that is alive elsewhere does not count.
"""

import http.client
import socket
from contextlib import closing
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import psycopg

from api.ports import place
from ledger.database import Database
from ledger.settings import Settings
from ledger.sql import load_statements

SQL: Final = load_statements("api", "readiness.sql")

FRESH: Final = timedelta(seconds=10)
"""How old the last heartbeat of a part that lives may be: it beats every two seconds."""

HTTP_PARTS: Final = ("api", "gateway")
BEATING_PARTS: Final = ("worker", "projector")

_HTTP_SECONDS_MAX: Final = 2.0
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, nothing is bound to it


def answers(part: str, settings: Settings) -> bool:
    """Tell whether the API or the demo gateway says that it is ready."""
    url = f"{settings.demo_gateway_url}/health" if part == "gateway" else f"{api_url(settings)}/readyz"
    parts = urlsplit(url)
    asking = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_HTTP_SECONDS_MAX)
    try:
        asking.request("GET", parts.path)
        return asking.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asking.close()


def beats(part: str, database: Database, *, process: int | None = None) -> bool:
    """Tell whether a worker or projector of this machine is alive, or one process of it."""
    host = socket.gethostname()
    try:
        with closing(database.connect(application="payment-ledger ready")) as connection:
            rows = connection.execute(SQL["read_alive"], {"part": part, "fresh": FRESH}).fetchall()
    except psycopg.Error:
        return False
    alive = [str(instance).rsplit("-", 2) for (instance,) in rows]
    return any(name[0] == host and process in {None, int(name[1])} for name in alive)


def api_url(settings: Settings) -> str:
    """Where the API answers, for those on this machine."""
    return f"http://{place(_ANY_ADDRESS.get(settings.host, settings.host), settings.port)}"
