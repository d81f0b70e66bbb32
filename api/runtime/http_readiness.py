"""Tells whether the API or the demo gateway on this machine is ready, by asking it over HTTP.

It stands apart from `readiness`, so that the health check of these parts loads no database driver.
"""

import http.client
import ssl
from typing import Final
from urllib.parse import urlsplit

from api.runtime.ports import place
from api.runtime.process_proof import HEADER
from api.settings import Settings

HTTP_PARTS: Final = ("api", "gateway")

_SECONDS_MAX: Final = 2.0
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - recognised here, nothing is bound to it


def http_part_ready(part: str, settings: Settings, *, proof: str | None = None) -> bool:
    """Tell whether the API or the demo gateway says that it is ready; with `proof`, the process that has this one."""
    url = f"{settings.demo_gateway_url}/health" if part == "gateway" else f"{api_url(settings)}/readyz"
    parts = urlsplit(url)
    asking = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        asking.request("GET", parts.path)
        answer = asking.getresponse()
        return answer.status == http.client.OK and proof in {None, answer.headers.get(HEADER)}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        asking.close()


def _connection(scheme: str, host: str, port: int | None) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=_SECONDS_MAX)
    # This asks an address of this machine, which the certificate does not name, and sends nothing that is secret.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, port, timeout=_SECONDS_MAX, context=context)


def api_url(settings: Settings) -> str:
    """Where the API answers, for those on this machine."""
    scheme = "http" if settings.ssl_certificate is None else "https"
    return f"{scheme}://{place(_ANY_ADDRESS.get(settings.host, settings.host), settings.port)}"
