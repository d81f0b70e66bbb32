"""How the tests of payments open a user, and read the fields of a response as they were written."""

import httpx
import msgspec
from msgspec import Raw

KEY = "123e4567-e89b-12d3-a456-426614174000"


async def open_user(client: httpx.AsyncClient, balance: object = 1000, **fields: object) -> int:
    answer = await client.post("/api/v1/users/", json={"balance": balance, **fields})
    return int(answer.json()["id"])


def raw_fields(answer: httpx.Response) -> dict[str, str]:
    """Return the fields of an answer as they were written, so that 204.00 is not 204.0."""
    return {name: bytes(raw).decode() for name, raw in msgspec.json.decode(answer.content, type=dict[str, Raw]).items()}
