"""What can be wrong with a request itself, as part of the ledger's one tree of errors.

    LedgerError
    +-- RequestError                 the request cannot be read; nothing was done
    |   +-- RequestMalformed         it is not HTTP or JSON as it should be
    |   +-- RouteNotFound
    |   +-- MethodNotAllowed
    |   +-- BodyTooLarge
    |   +-- MediaTypeUnsupported
    |   +-- ContentCodingUnsupported
    |   +-- RequestInvalid           it can be read, and a field of it is not what it has to be
    |   +-- CursorInvalid
    |   +-- IdempotencyKeyInvalid
    +-- Refusal
    |   +-- AccountNotOpenThen
    +-- Unavailable
    |   +-- ReadsBusy
    |   +-- DemoGatewayUnavailable
    +-- InternalError                a mistake of ours

What status, title and advice each of them is answered with stands in `api.problems`.
"""

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from ledger.errors import LedgerError, Refusal, Unavailable


class FieldError(Struct, frozen=True):
    """One thing that is wrong with a request: where in it, and what."""

    path: str
    message: str


class RequestError(LedgerError):
    """The request cannot be carried out as it is."""

    code = "request_error"


@dataclass(eq=False, kw_only=True)
class RequestMalformed(RequestError):
    """The request cannot be read."""

    code = "request_malformed"
    why: str


class RouteNotFound(RequestError):
    """There is nothing at this address."""

    code = "route_not_found"


@dataclass(eq=False, kw_only=True)
class MethodNotAllowed(RequestError):
    """The address does not take this method."""

    code = "method_not_allowed"
    allow: str


@dataclass(eq=False, kw_only=True)
class BodyTooLarge(RequestError):
    """The body is larger than the service takes."""

    code = "body_too_large"
    limit_bytes: int


@dataclass(eq=False, kw_only=True)
class MediaTypeUnsupported(RequestError):
    """The body is not JSON by its Content-Type."""

    code = "media_type_unsupported"
    content_type: str


@dataclass(eq=False, kw_only=True)
class ContentCodingUnsupported(RequestError):
    """The body is compressed, or coded otherwise."""

    code = "content_coding_unsupported"
    content_coding: str


@dataclass(eq=False, kw_only=True)
class RequestInvalid(RequestError):
    """The request is well-formed, and a part of it is not what it has to be."""

    code = "request_invalid"
    errors: tuple[FieldError, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """Give the errors, also as one sentence."""
        return {
            "errors": self.errors,
            "summary": "; ".join(f"{each.path} {each.message}".strip() for each in self.errors),
        }

    @classmethod
    def at(cls, path: str, message: str) -> "RequestInvalid":
        """Make one for a single place in the request."""
        return cls(errors=(FieldError(path, message),))


class CursorInvalid(RequestError):
    """The cursor is not one that this list gave out for these filters."""

    code = "cursor_invalid"


class IdempotencyKeyInvalid(RequestError):
    """The idempotency key is not one that can be kept."""

    code = "idempotency_key_invalid"


@dataclass(eq=False, kw_only=True)
class AccountNotOpenThen(Refusal):
    """The user had no account yet at that point of the log."""

    code = "user_not_open_then"
    account_id: int


class ReadsBusy(Unavailable):
    """Too many reads are waiting for the database."""

    code = "reads_busy"


class DemoGatewayUnavailable(Unavailable):
    """The demo gateway does not answer."""

    code = "demo_gateway_unavailable"


class InternalError(LedgerError):
    """Something went wrong inside the service."""

    code = "internal_error"
