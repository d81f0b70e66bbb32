"""The check of keys before every handler: who calls, and whether they may.

Each route names its scope in its options, by `allows`; one that names none is refused when the application is made. A
route about users also says how a request names its user, so that a key which is bound to some users is held to them. A
bound key is refused at all other routes, lists over all users among them.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, cast

from litestar import Litestar, Request
from litestar.handlers import HTTPRouteHandler
from litestar.types import Scope as Connection
from msgspec import Struct

from api.auth.key_ring import KeyRing, LiveKey
from api.auth.keys import KEY_BYTES, PREFIX, Scope
from api.auth.pages import Pages
from api.errors import KeyBoundElsewhere, ScopeMissing, Unauthenticated
from api.input.header_fields import each_came_once, fields_of, values_of
from ledger.errors import DatabaseUnavailable, StoreBroken

Need = Scope | Literal["public", "any"]
"""The scope that a route needs; `public` for a route without a check, `any` for one that takes each valid key."""

Naming = Literal["path", "query", "body", "payment"]
"""Where a request names its user: in its address, its query, its body, or as the user of the payment in its address.

A body is decoded after this check, so the handler holds it to the key with `refuse_other_users`.
"""

AnyRequest = Request[Any, Any, Any]
OwnerOf = Callable[[int], Awaitable[int | None]]

_NEED: Final = "needs"
_NAMING: Final = "names_user"
_CALLER: Final = "ledger.caller"
_BEARER: Final = b"bearer "
_PLAIN_BEARER: Final = (b"Bearer ", _BEARER)
_DIGITS_MAX: Final = 16


class Right(Struct, frozen=True):
    """The scope that a route needs, and where it names its user."""

    need: Need
    naming: Naming | None = None


def allows(need: Need, *, names_user: Naming | None = None) -> dict[str, Any]:
    """Give the options of a route that needs a scope."""
    return {_NEED: need, _NAMING: names_user}


def rights_of(app: Litestar) -> dict[HTTPRouteHandler, Right]:
    """Return the right that each handler of an application asks for. An address's OPTIONS takes any valid key of it.

    A handler that names no scope is a mistake of ours, and an AssertionError.
    """
    rights: dict[HTTPRouteHandler, Right] = {}
    for route in app.routes:
        handlers: Sequence[HTTPRouteHandler] = getattr(route, "route_handlers", ())
        named = {each: each.opt[_NEED] for each in handlers if _NEED in each.opt}
        for handler in handlers:
            if handler in named:
                rights[handler] = Right(named[handler], handler.opt[_NAMING])
            else:
                assert handler.http_methods == {"OPTIONS"}, f"{route.path} names no scope: {handler}"
                is_public = all(need == "public" for need in named.values())
                rights[handler] = Right("public" if is_public else "any", None)
    return rights


def caller_of(scope: Connection) -> LiveKey | None:
    """Return the key with which a request came; None for a request without one."""
    caller: LiveKey | None = cast("dict[str, Any]", scope).get(_CALLER)
    return caller


def refuse_other_users(key: LiveKey | None, user_id: int) -> None:
    """Refuse a user to whom a key is not bound. Raises KeyBoundElsewhere."""
    if key is not None and key.users is not None and user_id not in key.users:
        raise KeyBoundElsewhere


class Access:
    """The check; it is a plain function, except for unknown keys and for payments of bound keys."""

    def __init__(self, ring: KeyRing, *, required: bool, ignored: bool, pages: Pages, owner_of: OwnerOf) -> None:
        """Take the keys of `ring`. Without `required`, a request needs none; with `ignored`, none is looked at.

        `pages` checks the requests that need none, and `owner_of` tells the user of a payment.
        """
        self._ring = ring
        self._pages = pages
        self._required = required
        self._ignored = ignored
        self._owner_of = owner_of
        self._rights: Mapping[Any, Right] = {}

    def cover(self, app: Litestar) -> None:
        """Take over the scopes that the routes name. Before this, every request is refused."""
        self._rights = rights_of(app)

    def __call__(self, request: AnyRequest) -> Awaitable[None] | None:
        """Check a request. Raises Unauthenticated, Forbidden, DatabaseUnavailable."""
        if self._ignored:
            self._pages(request)
            return None
        right = self._rights[request.scope["route_handler"]]
        if right.need == "public":
            return None
        text = given_key(request.scope)
        if text is None:
            if self._required:
                raise Unauthenticated
            self._pages(request)
            return None
        key = self._ring.find(text)
        return self._look_again(request, right, text) if key is None else self._admit(request, right, key)

    async def _look_again(self, request: AnyRequest, right: Right, text: bytes) -> None:
        with suppress(DatabaseUnavailable, StoreBroken):
            await self._ring.refresh()
        if not self._ring.is_fresh():
            raise DatabaseUnavailable
        key = self._ring.find(text)
        if key is None:
            raise Unauthenticated
        if (admitting := self._admit(request, right, key)) is not None:
            await admitting

    def _admit(self, request: AnyRequest, right: Right, key: LiveKey) -> Awaitable[None] | None:
        cast("dict[str, Any]", request.scope)[_CALLER] = key
        if right.need not in key.scopes and right.need != "any":
            raise ScopeMissing(scope=right.need)
        self._ring.note(key)
        return None if key.users is None else self._admit_bound(request, right.naming, key)

    def _admit_bound(self, request: AnyRequest, naming: Naming | None, key: LiveKey) -> Awaitable[None] | None:
        match naming:
            case "path":
                refuse_other_users(key, _number(request.path_params["user_id"]))
            case "query":
                given = request.query_params.getall("user_id", [])
                refuse_other_users(key, _number(given[0]) if len(given) == 1 else 0)
            case "payment":
                return self._admit_payment(key, _number(request.path_params["payment_id"]))
            case "body":
                pass
            case None:
                raise KeyBoundElsewhere
        return None

    async def _admit_payment(self, key: LiveKey, payment_id: int) -> None:
        # A payment that does not exist gets the same answer, so a bound key cannot tell which numbers others have.
        refuse_other_users(key, await self._owner_of(payment_id) or 0)


def given_key(scope: Connection) -> bytes | None:
    """Return the key in the headers of a request; None when there is none, empty when it has no key's form.

    Two keys in one request are none: two programs that read it could each take another one of them. Credentials of
    another kind, such as those of a proxy, are not ours.
    """
    fields = fields_of(scope)
    given = fields.get(b"authorization")
    if b"x-api-key" not in fields:
        if given is None:
            return None
        # Nearly every key comes like this, alone. Reading field by field, as below, takes four times as long.
        text = given[len(_BEARER) :]
        is_plain = len(text) == KEY_BYTES and text.startswith(PREFIX) and given.startswith(_PLAIN_BEARER)
        if is_plain and each_came_once(scope):
            return text
    bearers = [each for each in values_of(scope, b"authorization") if each[: len(_BEARER)].lower() == _BEARER]
    texts = [*(each[len(_BEARER) :].strip() for each in bearers), *map(bytes.strip, values_of(scope, b"x-api-key"))]
    keys = [text for text in texts if text.startswith(PREFIX)]
    if not keys:
        return None
    return keys[0] if len(keys) == 1 and len(keys[0]) == KEY_BYTES else b""


def _number(text: str) -> int:
    """Read an id of an address; 0, which is nobody's, for everything else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0
