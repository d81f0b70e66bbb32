"""Forwards calls to the demo gateway's process, so that clients can reach it through the API, as in the original."""

import asyncio
from typing import Final, NamedTuple

import httpx

from api.errors import DemoGatewayUnavailable

CALLS_MAX: Final = 64
ANSWER_BYTES_MAX: Final = 1024 * 1024
CALL_SECONDS_MAX: Final = 90.0
"""Longer than the demo gateway makes any caller wait."""

_CONNECT_SECONDS: Final = 2.0
_PASSED_ON: Final = ("content-type", "retry-after")


class GatewayReply(NamedTuple):
    """The demo gateway's answer, which may be an error."""

    status: int
    body: bytes
    headers: dict[str, str]


class DemoGatewayClient:
    """Calls the demo gateway at its own address."""

    def __init__(self, url: str) -> None:
        """Prepare to call `url`; the first call connects."""
        self._client = httpx.AsyncClient(
            base_url=url,
            timeout=httpx.Timeout(CALL_SECONDS_MAX, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=CALLS_MAX, max_keepalive_connections=CALLS_MAX),
            trust_env=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def forward(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> GatewayReply:
        """Make one call and return its answer. Raises DemoGatewayUnavailable."""
        try:
            async with (
                asyncio.timeout(CALL_SECONDS_MAX),
                self._client.stream(method, path, content=body, headers=headers) as response,
            ):
                return GatewayReply(
                    response.status_code,
                    await _read(response),
                    {name: response.headers[name] for name in _PASSED_ON if name in response.headers},
                )
        except (httpx.HTTPError, TimeoutError) as error:
            raise DemoGatewayUnavailable from error


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES_MAX:
            raise DemoGatewayUnavailable
    return bytes(body)
