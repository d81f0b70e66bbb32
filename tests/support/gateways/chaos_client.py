"""A client of the chaos gateway that shows every byte, and the profiles that tests give the gateway."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import httpx
from msgspec.structs import replace

from processors.simulators.chaos.scenario import Behaviour, CallWeights, ChaosProfile, InquiryWeights
from tests.support.gateways.demo_process import pay_body

SOON_SECONDS = 0.2
"""An answer that has not come within this time is taken not to come at all."""

PROFILE = ChaosProfile(seed=11, hang_seconds=0.6, settle_seconds=0.4, silent_share=0.0)
HONEST = replace(PROFILE, calls=CallWeights.only(Behaviour.APPROVE), inquiries=InquiryWeights.only(Behaviour.TELL))


class Client:
    """A connection that shows every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, method: str, path: str, body: object = None, **headers: str) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: gateway", f"Content-Length: {len(content)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + content)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def pay(self, payment_id: int) -> None:
        await self.ask("POST", "/pay", pay_body(payment_id))

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one whole answer: status, headers with lower-case names, body."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        return int(head[0].split(" ")[1]), headers, await self._reader.readexactly(int(headers["content-length"]))

    async def final_answer(self) -> list[int]:
        """Read interim answers up to the final one, and its body. Returns their statuses."""
        statuses: list[int] = []
        head = b""
        while not statuses or statuses[-1] < 200:
            head = await self.interim()
            statuses.append(int(head.split(b" ")[1]))
        length = re.search(rb"Content-Length: ([0-9]+)", head)
        assert length is not None
        await self._reader.readexactly(int(length[1]))
        return statuses

    async def rest(self) -> tuple[bytes, str]:
        """Read to the end of the connection. Returns the bytes, and whether it was closed or reset."""
        data = b""
        try:
            while more := await self._reader.read(65536):
                data += more
        except ConnectionResetError:
            return data, "reset"
        return data, "closed"

    async def hears_nothing(self) -> bool:
        with suppress(ConnectionResetError):
            try:
                await asyncio.wait_for(self._reader.read(1), SOON_SECONDS)
            except TimeoutError:
                return True
        return False

    async def first_byte(self) -> None:
        await self._reader.readexactly(1)

    async def interim(self) -> bytes:
        """Read an answer without a body."""
        return await self._reader.readuntil(b"\r\n\r\n")

    async def is_kept(self) -> bool:
        """Return whether the connection serves another request."""
        await self.ask("GET", "/health")
        return (await self.answer())[0] == 200


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Client]:
    place = urlsplit(url)
    assert place.hostname is not None
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Client(reader, writer)
    finally:
        writer.close()


def calls_that(behaviour: Behaviour, **changed: Any) -> ChaosProfile:
    return replace(PROFILE, calls=CallWeights.only(behaviour), **changed)


def inquiries_that(behaviour: Behaviour, **changed: Any) -> ChaosProfile:
    return replace(HONEST, inquiries=InquiryWeights.only(behaviour), **changed)


async def get(url: str, path: str, **parameters: Any) -> Any:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        return (await client.get(path, params=parameters)).json()


async def moved(url: str) -> set[int]:
    """Return the payments whose money has moved."""
    return {effect["payment_id"] for effect in (await get(url, "/effects", limit=1000))["items"]}
