"""Keys: the routes to make, list, rotate and revoke them, for the scope `admin`."""

import asyncio
from datetime import timedelta
from typing import Annotated, ClassVar, Final

from litestar import Router, get, post, route
from litestar.params import JSONBody, PathParameter
from msgspec import Meta

from api.auth.access import allows
from api.auth.key_store import create_key, list_keys, revoke_key, rotate_key
from api.auth.keys import (
    DAYS_MAX,
    KEEP_SECONDS_DEFAULT,
    KEEP_SECONDS_MAX,
    KEY_ID_PATTERN,
    NAME_CHARACTERS_MAX,
    USERS_MAX,
    Scope,
)
from api.errors import KeyEnded, KeyNotFound, RequestInvalid
from api.http.cursors import LIMIT_DEFAULT
from api.http.parameters import Limit, Offset
from api.http.problems import WITH_BODY, problems
from api.http.responses import Answer
from api.input.bodies import RequestBody
from api.operator.decision_text import TEXT_PATTERN
from api.resources.request import Identifier, LedgerRequest
from api.views.keys import KeyView, NewKeyView, key_view, new_key_view
from ledger.store.database import Database

KeyId = Annotated[str, PathParameter(pattern=KEY_ID_PATTERN, description="The key's id, which stands in its text.")]

_NOT_KEPT: Final = {"Cache-Control": "no-store"}
"""An answer with a secret is for nobody else."""


class KeyRequest(RequestBody, frozen=True, kw_only=True):
    """A new key: a name for people, what it may do, the users to whom it is bound, and for how many days it lives.

    Without `user_ids` it is for all users, without `expires_in_days` it never ends.
    """

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARACTERS_MAX, pattern=TEXT_PATTERN)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=6)]
    user_ids: Annotated[list[Identifier], Meta(min_length=1, max_length=USERS_MAX)] | None = None
    expires_in_days: Annotated[int, Meta(ge=1, le=DAYS_MAX)] | None = None

    EXAMPLE: ClassVar[object] = {"name": "the shop's server", "scopes": ["payments:write", "read"], "user_ids": [1, 2]}


class RotationRequest(RequestBody, frozen=True, kw_only=True):
    """For how many seconds the former secret is taken too, so that a caller can change to the new one."""

    keep_seconds: Annotated[int, Meta(ge=0, le=KEEP_SECONDS_MAX)] = KEEP_SECONDS_DEFAULT

    EXAMPLE: ClassVar[object] = {"keep_seconds": 3600}


@post("/", status_code=201, opt=allows("admin"), responses=problems(*WITH_BODY))
async def make_key(request: LedgerRequest, data: JSONBody[KeyRequest]) -> Answer[NewKeyView]:
    """Make a key. The answer has its text; the service keeps only a digest of it, so no later answer can have it."""
    made = await asyncio.to_thread(
        create_key,
        _store(request),
        name=data.name,
        scopes=data.scopes,
        users=data.user_ids,
        lifetime=None if data.expires_in_days is None else timedelta(days=data.expires_in_days),
        by=request.by,
    )
    return Answer(new_key_view(made), status_code=201, headers=_NOT_KEPT)


@get("/", opt=allows("admin"), responses=problems(RequestInvalid))
async def list_all_keys(request: LedgerRequest, limit: Limit = LIMIT_DEFAULT, offset: Offset = 0) -> list[KeyView]:
    """List the keys without their secrets, newest first, revoked and expired ones too."""
    found = await asyncio.to_thread(list_keys, _store(request), limit=limit, offset=offset)
    return [key_view(key) for key in found]


@route(
    "/",
    http_method=["OPTIONS"],
    status_code=204,
    opt=allows("admin"),
    include_in_schema=False,
    response_headers={"Allow": "GET, HEAD, OPTIONS, POST"},
)
async def list_methods() -> None:
    """Name the methods of the keys. Litestar's own answer has only those of the handler that is registered first."""


@post(
    "/{key_id:str}/rotate",
    status_code=200,
    opt=allows("admin"),
    responses=problems(*WITH_BODY, KeyNotFound, KeyEnded),
)
async def rotate(request: LedgerRequest, key_id: KeyId, data: JSONBody[RotationRequest]) -> Answer[NewKeyView]:
    """Give a key a new secret. The former one is taken for some time longer, and the one before it no more."""
    keep = timedelta(seconds=data.keep_seconds)
    made = await asyncio.to_thread(rotate_key, _store(request), key_id, keep=keep)
    return Answer(new_key_view(made), status_code=200, headers=_NOT_KEPT)


@post("/{key_id:str}/revoke", status_code=200, opt=allows("admin"), responses=problems(RequestInvalid, KeyNotFound))
async def revoke(request: LedgerRequest, key_id: KeyId) -> KeyView:
    """End a key for good, with both of its secrets. Every process takes it no more after 5 seconds."""
    return key_view(await asyncio.to_thread(revoke_key, _store(request), key_id, by=request.by))


keys = Router("/keys", tags=["keys"], route_handlers=[list_methods, make_key, list_all_keys, rotate, revoke])


def _store(request: LedgerRequest) -> Database:
    return request.context.partitions[0].database
