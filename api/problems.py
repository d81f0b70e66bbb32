"""Every error as an answer: one table from error class to status, title and advice, and nothing about it elsewhere.

Answers are problem documents (RFC 9457). `type` and `title` are constant for a class, `detail` says what to do about
this case. What Litestar and psycopg raise is first translated into a class of ours; what nobody expected is logged with
the id of its request and shown as `internal_error`, without what was inside.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final, NamedTuple, cast

import msgspec
import psycopg
import structlog
from litestar import Request
from litestar.exceptions import (
    ClientException,
    HTTPException,
    MethodNotAllowedException,
    NotFoundException,
    ValidationException,
)
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import UNSET, Struct, UnsetType

from api.answers import Answer
from api.bodies import BODY_BYTES_MAX
from api.errors import (
    AccountNotOpenThen,
    BodyTooLarge,
    ContentCodingUnsupported,
    CursorInvalid,
    DemoGatewayUnavailable,
    FieldError,
    IdempotencyKeyInvalid,
    InternalError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    ReadsBusy,
    RequestError,
    RequestInvalid,
    RequestMalformed,
    RouteNotFound,
)
from api.request_ids import request_id
from ledger import errors, settings
from ledger.money import BALANCE_MINOR_MAX

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1

_log = structlog.get_logger()


class Problem(NamedTuple):
    """How one class of error is answered; `advice` is filled in with the error's facts and becomes the detail."""

    status: int
    title: str
    advice: str


class ProblemDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What went wrong (RFC 9457), and what to do about it.

    `code` is stable and meant for programs. `errors` lists what is wrong in the request, by its place there;
    `payment_id` is the payment that was recorded although it was refused. `request_id` finds the request in the logs;
    it is left out where the answer is kept for an idempotency key, and stands in `X-Request-ID` always.
    """

    type: str
    title: str
    status: int
    code: str
    detail: str
    request_id: str | UnsetType = UNSET
    errors: list[FieldError] | UnsetType = UNSET
    payment_id: int | UnsetType = UNSET

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "type": "/problems/payment_not_found",
        "title": "There is no such payment",
        "status": 404,
        "code": "payment_not_found",
        "detail": "There is no payment 77. Ask for the payment_id that the request for the payment was answered with.",
        "request_id": "6f9619ff8b86d011b42d00cf4fc964ff",
    }


WITH_BODY: Final = (RequestInvalid, MediaTypeUnsupported, ContentCodingUnsupported, BodyTooLarge)
"""What any request with a body can come to, for the documentation."""

AS_COMMAND: Final = (*WITH_BODY, errors.WriterBusy, errors.WriterStopped, errors.OutcomeUnknown)
"""What any request that is to be written can come to."""

_BROKEN: Final = "The service's store needs an operator; `payment-ledger status` says what is wrong with it."
_LATER: Final = "Send the same request again in a moment."

PROBLEMS: Final[dict[type[errors.LedgerError], Problem]] = {
    # the request itself
    RequestError: Problem(400, "The request cannot be carried out", "Look at the documentation at /docs."),
    RequestMalformed: Problem(400, "The request cannot be read", "It cannot be read: {why}."),
    RouteNotFound: Problem(404, "There is nothing at this address", "Look at /docs for the addresses there are."),
    MethodNotAllowed: Problem(405, "The method is not allowed here", "Use one of: {allow}."),
    BodyTooLarge: Problem(413, "The body is too large", "Send at most {limit_bytes} bytes in one request."),
    MediaTypeUnsupported: Problem(
        415, "The body is not JSON", "Send JSON in UTF-8 with `Content-Type: application/json`, not {content_type!r}."
    ),
    ContentCodingUnsupported: Problem(
        415, "The body is coded", "Send the body as it is, without `Content-Encoding: {content_coding}`."
    ),
    RequestInvalid: Problem(422, "The request is not acceptable", "Change this and send the request again: {summary}."),
    CursorInvalid: Problem(
        422, "The cursor is not valid", "Take `next_cursor` of the page before, with the same filters, or start anew."
    ),
    IdempotencyKeyInvalid: Problem(
        422, "The idempotency key is not valid", "Send one Idempotency-Key, of 1 to 255 printable ASCII characters."
    ),
    # the ledger says no
    errors.Refusal: Problem(422, "The ledger refuses the request", "Look at the documentation at /docs."),
    errors.AccountNotFound: Problem(
        404, "There is no such user", "There is no user {account_id}. POST /api/v1/users/ opens one."
    ),
    errors.PaymentNotFound: Problem(
        404,
        "There is no such payment",
        "There is no payment {payment_id}. Ask for the payment_id that the request for the payment was answered with.",
    ),
    AccountNotOpenThen: Problem(
        404, "The user had no account then", "User {account_id} was opened later; ask for a later time or position."
    ),
    errors.AmountInvalid: Problem(
        422,
        "The amount cannot be accepted",
        "Send the amount as a plain decimal number, such as 12.50, of the user's currency; this one is refused: {why}.",
    ),
    errors.CurrencyUnknown: Problem(
        422,
        "The currency is not known",
        "Send an ISO 4217 code in capital letters, such as USD; {currency!r} is none.",
    ),
    errors.BalanceLimitExceeded: Problem(
        422,
        "The account would hold too much",
        "With this payment the account could hold more than {limit_minor} minor units; send a smaller amount.",
    ),
    errors.InsufficientFunds: Problem(
        422,
        "Too little money is available",
        "Less is available than the amount and its fee come to; send a smaller amount, or wait for a deposit.",
    ),
    errors.IdempotencyKeyReused: Problem(
        422,
        "The idempotency key was used for another request",
        "The key was used before, for another request of this user; send a new key for a new request.",
    ),
    errors.WrongState: Problem(
        409, "The payment's state does not allow this", "Payment {payment_id} is {state}; look at GET /api/v1/dlq."
    ),
    errors.NotRequeueable: Problem(
        409,
        "The payment cannot be queued again",
        "Only a payment that failed at the gateway can be queued again; payment {payment_id} is {state}.",
    ),
    errors.NotResolvable: Problem(
        409,
        "The payment cannot be resolved like this",
        "Only a dead letter can be resolved, and only with an outcome that fits it; payment {payment_id} is {state}.",
    ),
    errors.OutcomeImpossible: Problem(
        409, "The payment cannot take this outcome", "Payment {payment_id} is {state}: {why}."
    ),
    errors.StaleCommand: Problem(
        409, "The payment has moved on", "Payment {payment_id} has changed meanwhile; look at it and decide again."
    ),
    errors.CommandRejected: Problem(
        422, "The request cannot be stored", "The database cannot store what this request asks for; change its texts."
    ),
    errors.ExportInvalid: Problem(422, "The file is no export of a ledger", "Line {line}: {what}."),
    errors.StoreNotEmpty: Problem(409, "The store is not empty", "It has events already; import into an empty store."),
    errors.StoreInCharge: Problem(409, "The store is in charge already", "There is nothing to take over."),
    # not now
    errors.Unavailable: Problem(503, "The service cannot answer now", _LATER),
    errors.WriterBusy: Problem(503, "The service is busy", f"Too many requests wait. {_LATER}"),
    errors.WriterStopped: Problem(503, "The service is stopping", f"Nothing was done. {_LATER}"),
    errors.DatabaseUnavailable: Problem(503, "The database is away", f"Nothing was done. {_LATER}"),
    errors.OutcomeUnknown: Problem(
        503,
        "It is not known whether the request was carried out",
        "The database was lost meanwhile. Send the same request with the same Idempotency-Key again to find out.",
    ),
    errors.StoreWithheld: Problem(
        503,
        "This is a copy of the ledger that takes no payments",
        "Send the request to the service that is in charge; this one is when its store is taken over.",
    ),
    ReadsBusy: Problem(503, "The service is busy", f"Too many reads wait. {_LATER}"),
    DemoGatewayUnavailable: Problem(
        503, "The demo gateway does not answer", "Start it with `payment-ledger gateway`, and send the request again."
    ),
    # our own fault
    errors.LedgerError: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    InternalError: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    errors.CommandFailed: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    settings.SettingsError: Problem(500, "The service is set up wrongly", _BROKEN),
    errors.StoreBroken: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaMissing: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaOlder: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaNewer: Problem(500, "The store cannot be used", _BROKEN),
    errors.RoleMissing: Problem(500, "The store cannot be used", _BROKEN),
    errors.LogBroken: Problem(500, "The store cannot be used", _BROKEN),
}
"""How each class of error is answered: those that a request can meet by a row of their own, as a test proves, and any
other, such as one that ends a process at its start, by that of the class above it."""


_TRANSLATIONS: Final[list[tuple[type[Exception], Callable[[Any], errors.LedgerError]]]] = [
    (NotFoundException, lambda _: RouteNotFound()),
    (MethodNotAllowedException, lambda error: MethodNotAllowed(allow=(error.headers or {}).get("allow", ""))),
    (ValidationException, lambda error: RequestInvalid(errors=tuple(_field_errors(error)))),
    (ClientException, lambda error: RequestMalformed(why=error.detail)),
    (psycopg.OperationalError, lambda _: errors.DatabaseUnavailable()),
    (psycopg.InterfaceError, lambda _: errors.DatabaseUnavailable()),
]
"""What others raise, as errors of ours; the first row that fits counts."""


def to_response(request: Request[Any, Any, Any], raised: Exception) -> Answer[ProblemDocument]:
    """Answer what a handler, or the way to it, has raised."""
    error = _ours(raised)
    problem = problem_of(type(error))
    identifier = request_id(request.scope)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", request_id=identifier, path=request.scope["path"], exc_info=raised)
    elif error.may_retry:
        _log.warning("request_put_off", request_id=identifier, code=error.code, path=request.scope["path"])
    return problem_response(describe(error, identifier, amount_path=_amount_path(request)), headers=_headers(error))


def problem_of(error: type[errors.LedgerError]) -> Problem:
    """Find how a class of error is answered."""
    return next(PROBLEMS[cls] for cls in error.__mro__ if cls in PROBLEMS)


def describe(
    error: errors.LedgerError,
    identifier: str | UnsetType,
    *,
    amount_path: str = "amount",
    key_path: str = "Idempotency-Key",
) -> ProblemDocument:
    """Write the document about an error; the paths are where the request has its amount and its idempotency key."""
    problem = problem_of(type(error))
    wrong: list[FieldError] | UnsetType = UNSET
    if isinstance(error, RequestInvalid):
        wrong = list(error.errors)
    elif problem.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        place = _PLACES.get(type(error), "{amount}").format(amount=amount_path, key=key_path)
        wrong = [FieldError(place, error.facts.get("why", error.message.rstrip(".")))]
    return ProblemDocument(
        type=f"/problems/{error.code}",
        title=problem.title,
        status=problem.status,
        code=error.code,
        detail=problem.advice.format_map(error.facts),
        request_id=identifier,
        errors=wrong,
    )


_PLACES: Final[dict[type[errors.LedgerError], str]] = {
    CursorInvalid: "cursor",
    IdempotencyKeyInvalid: "{key}",
    errors.IdempotencyKeyReused: "{key}",
    errors.CurrencyUnknown: "currency",
    errors.CommandRejected: "",
}
"""Where in a request lies what an error is about; all others are about the amount."""


def too_little_money(*, payment_id: int) -> ProblemDocument:
    """Write the document about a payment that was recorded and failed at once for want of money.

    It is what a replay of the request is answered with too, and so has nothing in it that is another each time.
    """
    problem = PROBLEMS[errors.InsufficientFunds]
    return ProblemDocument(
        type=f"/problems/{errors.InsufficientFunds.code}",
        title=problem.title,
        status=problem.status,
        code=errors.InsufficientFunds.code,
        detail=f"{problem.advice} The payment was recorded as failed: payment_id={payment_id}",
        errors=[FieldError("amount", "is more than what is available, its fee included")],
        payment_id=payment_id,
    )


def problem_response(document: ProblemDocument, headers: Mapping[str, str] | None = None) -> Answer[ProblemDocument]:
    """Send a document with the status that stands in it."""
    return Answer(document, status_code=document.status, media_type=MEDIA_TYPE, headers=headers)


def problems(*classes: type[errors.LedgerError], recorded: ProblemDocument | None = None) -> dict[int, ResponseSpec]:
    """Describe for the documentation what a route can answer when it does not answer well.

    What any route can come to is added: that the request cannot be read, that the service is away, and our own faults.
    `recorded` is an example of a refusal that the route records.
    """
    rows: dict[int, dict[str, type[errors.LedgerError]]] = {}
    every: tuple[type[errors.LedgerError], ...] = (RequestMalformed, errors.DatabaseUnavailable, InternalError)
    for error in classes + every:
        rows.setdefault(PROBLEMS[error].status, {})[error.code] = error
    return {
        status: ResponseSpec(
            ProblemDocument,
            generate_examples=False,
            media_type=MEDIA_TYPE,
            description=". ".join(sorted({PROBLEMS[error].title for error in by_code.values()})),
            examples=[
                Example(
                    id=code,
                    value=msgspec.to_builtins(recorded) if recorded and recorded.code == code else _example(error),
                )
                for code, error in by_code.items()
            ],
        )
        for status, by_code in sorted(rows.items())
    }


_SAMPLE_FACTS: Final = {
    "account_id": 99,
    "payment_id": 77,
    "state": "processing",
    "why": "what is wrong with it",
    "summary": "user_id is missing",
    "allow": "GET, OPTIONS",
    "limit_bytes": BODY_BYTES_MAX,
    "limit_minor": BALANCE_MINOR_MAX,
    "content_type": "text/plain",
    "content_coding": "gzip",
    "currency": "XXX",
}
"""What the examples in the documentation are about."""


def _example(error: type[errors.LedgerError]) -> dict[str, Any]:
    problem = PROBLEMS[error]
    example = {
        "type": f"/problems/{error.code}",
        "title": problem.title,
        "status": problem.status,
        "code": error.code,
        "detail": problem.advice.format_map(_SAMPLE_FACTS),
        "request_id": ProblemDocument.EXAMPLE["request_id"],
    }
    if error is RequestInvalid:
        example["errors"] = [{"path": "user_id", "message": "is missing"}]
    elif problem.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        place = _PLACES.get(error, "amount").format(key="Idempotency-Key")
        example["errors"] = [{"path": place, "message": "what is wrong with it"}]
    return example


def _ours(raised: Exception) -> errors.LedgerError:
    if isinstance(raised, errors.LedgerError):
        return raised
    return next((make(raised) for cls, make in _TRANSLATIONS if isinstance(raised, cls)), InternalError())


def _headers(error: errors.LedgerError) -> dict[str, str]:
    if isinstance(error, MethodNotAllowed):
        return {"Allow": error.allow}
    if isinstance(error, ContentCodingUnsupported):
        return {"Accept-Encoding": "identity"}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.may_retry else {}


def _amount_path(request: Request[Any, Any, Any]) -> str:
    # The router finds the handler; where it finds none, there is none in the scope.
    handler: BaseRouteHandler | None = cast("dict[str, Any]", request.scope).get("route_handler")
    return "amount" if handler is None else str(handler.opt.get("amount_path", "amount"))


def _field_errors(error: HTTPException) -> list[FieldError]:
    extra = error.extra if isinstance(error.extra, list) else []
    found = [FieldError(_NAMES.get(each["key"], each["key"]), each["message"]) for each in extra if "key" in each]
    return found or [FieldError("", error.detail)]


_NAMES: Final = {"kind": "type"}
"""Parameters whose name in the address is another than in the handler, where it would hide a word of Python's."""
