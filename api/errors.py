"""The errors of requests and of the API, as part of the ledger's one tree of errors.

    LedgerError
    +-- RequestError                 the request cannot be read; nothing was done
    |   +-- RequestMalformed         it is not correct HTTP or JSON
    |   +-- RouteNotFound
    |   +-- MethodNotAllowed
    |   +-- BodyTooLarge
    |   +-- MediaTypeUnsupported
    |   +-- ContentCodingUnsupported
    |   +-- RequestInvalid           it can be read, but a field of it is wrong
    |   +-- CursorInvalid
    |   +-- IdempotencyKeyInvalid
    |   +-- Unauthenticated          it names no caller, or does not prove who the caller is
    |   +-- Forbidden                the caller may not do this
    |   |   +-- ScopeMissing
    |   |   +-- KeyBoundElsewhere
    |   |   +-- CrossSite
    |   |   +-- HostUnknown
    |   +-- TooManyRequests
    |   +-- TooManyPayments
    |   +-- RequestRefused           any other refusal of the framework, with its own status
    +-- Refusal
    |   +-- AccountNotOpenThen
    |   +-- KeyNotFound
    |   +-- KeyEnded
    |   +-- ApprovalNotFound
    |   +-- ApprovalOfOwn
    |   +-- ApprovalExpired
    |   +-- ApprovalDecided
    |   +-- ApprovalKeyEnded
    |   +-- ApprovalBeforeRecovery
    |   +-- ApprovalWaiting
    |   +-- ApproverUnknown
    |   +-- LettersChanged
    |   +-- PlanNotFound
    +-- Unavailable
    |   +-- ProcessBusy
    |   +-- ReadsBusy
    |   +-- StreamSetAside
    |   +-- DemoGatewayUnavailable
    +-- InternalError                a bug in the service

`api.http.problem_table` has the status, title and advice with which the API answers each of them.
"""

from dataclasses import dataclass
from typing import Any

from msgspec import Struct

from ledger.errors import LedgerError, Refusal, Unavailable


class FieldError(Struct, frozen=True):
    """One error in a request: the path of the field, and a message."""

    path: str
    message: str


class RequestError(LedgerError):
    """The request cannot be carried out."""

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
    """The body is larger than the service accepts."""

    code = "body_too_large"
    limit_bytes: int


@dataclass(eq=False, kw_only=True)
class MediaTypeUnsupported(RequestError):
    """The Content-Type of the body is not JSON. It is not repeated: no header goes into an answer or a log."""

    code = "media_type_unsupported"


@dataclass(eq=False, kw_only=True)
class ContentCodingUnsupported(RequestError):
    """The body is compressed or has another content coding."""

    code = "content_coding_unsupported"


@dataclass(eq=False, kw_only=True)
class RequestInvalid(RequestError):
    """The request is well-formed, but a field of it is wrong."""

    code = "request_invalid"
    errors: tuple[FieldError, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """The errors, and a summary of them in one sentence."""
        return {
            "errors": self.errors,
            "summary": "; ".join(f"{each.path}: {each.message}".removeprefix(": ") for each in self.errors),
        }

    def __str__(self) -> str:
        """Say what is wrong in words."""
        return f"{self.message} {self.facts['summary']}"

    @classmethod
    def at(cls, path: str, message: str) -> "RequestInvalid":
        """Make an error about a single field of the request."""
        return cls(errors=(FieldError(path, message),))


class CursorInvalid(RequestError):
    """The cursor was not given out for this list with these filters."""

    code = "cursor_invalid"


class IdempotencyKeyInvalid(RequestError):
    """The idempotency key is not 1 to 255 printable ASCII characters."""

    code = "idempotency_key_invalid"


class Unauthenticated(RequestError):
    """The request does not name its caller, or does not prove who the caller is."""

    code = "unauthenticated"


class Forbidden(RequestError):
    """The caller may not do this."""

    code = "forbidden"


@dataclass(eq=False, kw_only=True)
class ScopeMissing(Forbidden):
    """The key does not have the scope that this needs."""

    code = "scope_missing"
    scope: str


class KeyBoundElsewhere(Forbidden):
    """The key is bound to some users, and this is not about one of them alone."""

    code = "key_bound_elsewhere"


class CrossSite(Forbidden):
    """The page of another site sends the request, and no key is needed here."""

    code = "cross_site"


class HostUnknown(Forbidden):
    """The request is for another host, and this service is for its own machine alone."""

    code = "host_unknown"


@dataclass(eq=False, kw_only=True)
class TooManyRequests(RequestError):
    """The caller sends more requests than they may."""

    code = "too_many_requests"
    may_retry = True
    retry_after_seconds: int = 1


@dataclass(eq=False, kw_only=True)
class TooManyPayments(RequestError):
    """The caller requests more payments a minute than they may."""

    code = "too_many_payments"
    may_retry = True
    retry_after_seconds: int = 1


class NotOverPartitions(RequestError):
    """This is not possible yet in a ledger with several partitions."""

    code = "not_over_partitions"


@dataclass(eq=False, kw_only=True)
class RequestRefused(RequestError):
    """The framework refuses the request with another HTTP status (4xx)."""

    code = "request_refused"
    status: int
    why: str


@dataclass(eq=False, kw_only=True)
class AccountNotOpenThen(Refusal):
    """The user had no account yet at that point of the log."""

    code = "user_not_open_then"
    account_id: int


@dataclass(eq=False, kw_only=True)
class KeyNotFound(Refusal):
    """No key has this id."""

    code = "key_not_found"
    key_id: str


@dataclass(eq=False, kw_only=True)
class KeyEnded(Refusal):
    """The key was revoked or has expired."""

    code = "key_ended"
    key_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalNotFound(Refusal):
    """No request for an approval has this id."""

    code = "approval_not_found"
    approval_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalOfOwn(Refusal):
    """A key cannot approve what it has asked for itself."""

    code = "approval_of_own"
    approval_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalExpired(Refusal):
    """The request has waited too long for its approval."""

    code = "approval_expired"
    approval_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalDecided(Refusal):
    """The request was decided otherwise before."""

    code = "approval_decided"
    approval_id: str
    decision: str


@dataclass(eq=False, kw_only=True)
class ApprovalKeyEnded(Refusal):
    """The key that asked was revoked or has expired since."""

    code = "approval_key_ended"
    approval_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalBeforeRecovery(Refusal):
    """The store was recovered since the request, and may have forgotten what became of it."""

    code = "approval_before_recovery"
    approval_id: str


@dataclass(eq=False, kw_only=True)
class ApprovalWaiting(Refusal):
    """Another request for the same action about the payment waits already."""

    code = "approval_waiting"
    approval_id: str


class ApproverUnknown(Refusal):
    """A decision that needs two keys came without one."""

    code = "approver_unknown"


@dataclass(eq=False, kw_only=True)
class LettersChanged(Refusal):
    """The letters have changed since the list was made; nothing was done."""

    code = "letters_changed"
    digest: str


@dataclass(eq=False, kw_only=True)
class PlanNotFound(Refusal):
    """No list of letters has this digest."""

    code = "plan_not_found"
    digest: str


class ProcessBusy(Unavailable):
    """The process handles as many requests as it may at a time."""

    code = "process_busy"


class ReadsBusy(Unavailable):
    """Too many reads are waiting for the database."""

    code = "reads_busy"


class StreamSetAside(Unavailable):
    """A read model could not apply an event of this user, so the answer would be wrong."""

    code = "stream_set_aside"
    may_retry = False  # only an operator can mend it, so a program would try for ever


class DemoGatewayUnavailable(Unavailable):
    """The demo gateway does not answer."""

    code = "demo_gateway_unavailable"


class InternalError(LedgerError):
    """Something went wrong inside the service."""

    code = "internal_error"
