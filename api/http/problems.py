"""Turns every error into an answer, by the one table in `problem_table`.

Answers are problem documents (RFC 9457). `type` and `title` are constant for an error class; `detail` says what to do
in this case. Errors of Litestar and psycopg are first translated into our classes. An unexpected error is logged with
the id of its request and answered as `internal_error`, without internal details.
"""

from collections.abc import Callable, Mapping
from decimal import Decimal
from http import HTTPStatus
from typing import Annotated, Any, ClassVar, Final

import msgspec
import psycopg
import structlog
from litestar import Request
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    NotAuthorizedException,
    NotFoundException,
    PermissionDeniedException,
    ServiceUnavailableException,
    TooManyRequestsException,
    ValidationException,
)
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import KwargDefinition
from msgspec import UNSET, Struct, UnsetType

from api.errors import (
    BodyTooLarge,
    ContentCodingUnsupported,
    CursorInvalid,
    FieldError,
    Forbidden,
    IdempotencyKeyInvalid,
    InternalError,
    MediaTypeUnsupported,
    MethodNotAllowed,
    ProcessBusy,
    RequestInvalid,
    RequestMalformed,
    RequestRefused,
    RouteNotFound,
    TooManyPayments,
    TooManyRequests,
    Unauthenticated,
)
from api.http.amounts import decimal
from api.http.head_requests import with_head
from api.http.problem_table import CODES, PROBLEMS, problem_for
from api.http.request_body import BODY_BYTES_MAX
from api.http.request_ids import note_code, request_id
from api.http.responses import Answer
from api.input.messages import GENERAL
from api.input.parameters import handler_of, parameter_errors
from ledger import errors
from ledger.domain.commands import PaymentAcceptance
from ledger.domain.money import BALANCE_MINOR_MAX

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 1

_log = structlog.get_logger()


class ProblemDocument(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457), and what to do about it.

    `code` is stable and meant for programs. `errors` lists the errors in the request, each with its path in the
    request. `payment_id` is the payment that was recorded although the request was refused. `request_id` finds the
    request in the logs; it is left out of an answer that is kept for an idempotency key. `X-Request-ID` always has it.
    `needed` is the money that the request would take, and `available` the money that the account had, in `currency`.
    """

    type: str
    title: str
    status: int
    code: Annotated[str, KwargDefinition(schema_extra={"enum": [*CODES]})]
    detail: str
    request_id: str | UnsetType = UNSET
    errors: list[FieldError] | UnsetType = UNSET
    payment_id: int | UnsetType = UNSET
    available: Decimal | UnsetType = UNSET
    needed: Decimal | UnsetType = UNSET
    currency: str | UnsetType = UNSET

    EXAMPLE: ClassVar[Mapping[str, Any]] = {
        "type": "/problems/payment_not_found",
        "title": "There is no such payment",
        "status": 404,
        "code": "payment_not_found",
        "detail": "There is no payment 77. Use the payment_id in the answer to the request that made the payment.",
        "request_id": "6f9619ff8b86d011b42d00cf4fc964ff",
    }


WITH_BODY: Final = (RequestInvalid, MediaTypeUnsupported, ContentCodingUnsupported, BodyTooLarge)
"""The errors that any request with a body can get, for the documentation."""

AS_COMMAND: Final = (
    *WITH_BODY,
    errors.WriterBusy,
    errors.WriterStopped,
    errors.OutcomeUnknown,
    errors.StoreInactive,
)
"""The errors that any request that sends a command can get, for the documentation."""


_TRANSLATIONS: Final[list[tuple[type[Exception], Callable[[Any], errors.LedgerError]]]] = [
    (NotFoundException, lambda _: RouteNotFound()),
    (
        MethodNotAllowedException,
        lambda error: MethodNotAllowed(allow=with_head((error.headers or {}).get("allow", ""))),
    ),
    (NotAuthorizedException, lambda _: Unauthenticated()),
    (PermissionDeniedException, lambda _: Forbidden()),
    (TooManyRequestsException, lambda _: TooManyRequests()),
    (ServiceUnavailableException, lambda _: errors.Unavailable()),
    (HTTPException, lambda error: _by_status(error)),  # noqa: PLW0108 - the function is defined further down
    (psycopg.OperationalError, lambda _: errors.DatabaseUnavailable()),
    (psycopg.InterfaceError, lambda _: errors.DatabaseUnavailable()),
]
"""How to translate errors of libraries into ours; the first row whose class matches applies."""


def to_response(request: Request[Any, Any, Any], raised: Exception) -> Answer[ProblemDocument]:
    """Answer an error that a handler, a check or the framework raised."""
    error = _ours(raised, handler_of(request))
    problem = problem_for(type(error))
    identifier = request_id(request.scope)
    if problem.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        _log.error("request_failed", request_id=identifier, exc_info=raised)
    note_code(request.scope, error.code)
    return problem_response(
        problem_document(error, identifier, amount_path=_amount_path(request)), headers=_headers(error, raised)
    )


def problem_document(
    error: errors.LedgerError,
    identifier: str | UnsetType,
    *,
    amount_path: str = "amount",
    key_path: str = "Idempotency-Key",
) -> ProblemDocument:
    """Write the document about an error.

    `amount_path` and `key_path` are the paths of the amount and the idempotency key in the request.
    """
    problem = problem_for(type(error))
    wrong: list[FieldError] | UnsetType = UNSET
    if isinstance(error, RequestInvalid):
        wrong = list(error.errors)
    elif problem.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        place = _PLACES.get(type(error), "{amount}").format(amount=amount_path, key=key_path)
        wrong = [FieldError(place, error.facts.get("why", error.message.rstrip(".")))]
    document = ProblemDocument(
        type=f"/problems/{error.code}",
        title=problem.title,
        status=error.status if isinstance(error, RequestRefused) else problem.status,
        code=error.code,
        detail=problem.advice.format_map(error.facts),
        request_id=identifier,
        errors=wrong,
    )
    return _with_numbers(document, error) if isinstance(error, errors.InsufficientFunds) else document


_PLACES: Final[dict[type[errors.LedgerError], str]] = {
    CursorInvalid: "cursor",
    IdempotencyKeyInvalid: "{key}",
    errors.IdempotencyKeyReused: "{key}",
    errors.IdempotencyKeyMissing: "{key}",
    errors.CurrencyUnknown: "currency",
    errors.CurrencyNotSupported: "user_id",
    errors.ContradictionNotNamed: "gateway_key",
    errors.CommandRejected: "",
}
"""The path, in the request, of the field that an error is about; all other errors are about the amount."""


def too_little_money(acceptance: PaymentAcceptance) -> ProblemDocument:
    """Write the document about a payment that was recorded as failed at once, because too little money is available.

    A replay of the request gets the same bytes: all facts in the document are those of the payment's events. A refusal
    of the ledger's first versions has no numbers in its events, and had none in its answer.
    """
    problem = PROBLEMS[errors.InsufficientFunds]
    document = ProblemDocument(
        type=f"/problems/{errors.InsufficientFunds.code}",
        title=problem.title,
        status=problem.status,
        code=errors.InsufficientFunds.code,
        detail=f"{problem.advice} The payment was recorded as failed: payment_id={acceptance.payment_id}",
        errors=[FieldError("amount", "is, with its fee, more than the available balance")],
        payment_id=acceptance.payment_id,
    )
    if acceptance.available_minor is None:
        return document
    numbers = errors.InsufficientFunds(
        currency=acceptance.currency,
        available_minor=acceptance.available_minor,
        needed_minor=acceptance.account_minor,
    )
    return _with_numbers(document, numbers)


def _with_numbers(document: ProblemDocument, error: errors.InsufficientFunds) -> ProblemDocument:
    return msgspec.structs.replace(
        document,
        available=decimal(error.available_minor, error.currency),
        needed=decimal(error.needed_minor, error.currency),
        currency=error.currency,
    )


def problem_response(document: ProblemDocument, headers: Mapping[str, str] | None = None) -> Answer[ProblemDocument]:
    """Make an answer with the document and its status."""
    answer = Answer(document, status_code=document.status, media_type=MEDIA_TYPE, headers=headers)
    answer.has_amounts = document.available is not UNSET
    return answer


def problems(
    *classes: type[errors.LedgerError], recorded: ProblemDocument | None = None, limited: bool = True
) -> dict[int, ResponseSpec]:
    """Describe the errors of a route for the documentation: response specs by status.

    The errors that any route can get are added: the request cannot be read, the database cannot be reached, and an
    internal error; and those of the limits, if the route is `limited`. `recorded` is an example of a refusal that the
    route records.
    """
    rows: dict[int, dict[str, type[errors.LedgerError]]] = {}
    every: tuple[type[errors.LedgerError], ...] = (RequestMalformed, errors.DatabaseUnavailable, InternalError)
    if limited:
        every = (*every, TooManyRequests, ProcessBusy)
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
                    value=_written(recorded) if recorded and recorded.code == code else example_of(error),
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
    "why": "the reason in words",
    "summary": "user_id: is missing",
    "allow": "GET, OPTIONS, HEAD",
    "limit_bytes": BODY_BYTES_MAX,
    "limit_minor": BALANCE_MINOR_MAX,
    "currency": "XXX",
    "scope": "payments:write",
    "key_id": "4f1c8a02d7be9635",
    "waiting_max": 100,
    "gateway_keys": "payment-77_5d41402abc4b2a76, payment-77-2_5d41402abc4b2a76",
    "gateway_key": "payment-77_5d41402abc4b2a76",
    "answer": "approved",
    "approval_id": "4f1c8a02d7be9635",
    "decision": "rejected",
    "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
}
"""The facts in the examples of the documentation."""


def _written(document: ProblemDocument) -> object:
    """Write an example as the answer would be."""
    return msgspec.json.decode(problem_response(document).render(document, MEDIA_TYPE))


def example_of(error: type[errors.LedgerError]) -> dict[str, Any]:
    """Give an example of the document about a class of errors."""
    problem = PROBLEMS[error]
    example = {
        "type": f"/problems/{error.code}",
        "title": problem.title,
        "status": problem.status,
        "code": error.code,
        "detail": problem.advice.format_map(_SAMPLE_FACTS),
        "request_id": ProblemDocument.EXAMPLE["request_id"],
    }
    if error is errors.InsufficientFunds:
        example |= {"available": 50.0, "needed": 51.0, "currency": "USD"}
    if error is RequestInvalid:
        example["errors"] = [{"path": "user_id", "message": "is missing"}]
    elif problem.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        place = _PLACES.get(error, "amount").format(key="Idempotency-Key")
        example["errors"] = [{"path": place, "message": "the reason in words"}]
    return example


def _ours(raised: Exception, handler: BaseRouteHandler | None) -> errors.LedgerError:
    if isinstance(raised, errors.LedgerError):
        return raised
    if isinstance(raised, ValidationException):
        wrong = tuple(parameter_errors(raised, handler))
        return RequestInvalid(errors=wrong or (FieldError("", GENERAL),))
    return next((make(raised) for cls, make in _TRANSLATIONS if isinstance(raised, cls)), InternalError())


def _by_status(error: HTTPException) -> errors.LedgerError:
    """Translate an exception of the framework that has no row of its own, by its status."""
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return RequestMalformed(why=error.detail)
    if HTTPStatus.BAD_REQUEST < error.status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
        return RequestRefused(status=error.status_code, why=error.detail)
    return InternalError()


_PASSED_ON: Final = frozenset({"retry-after", "www-authenticate"})
"""Headers of the framework's exceptions that the answer keeps, because the client needs them."""


def _headers(error: errors.LedgerError, raised: Exception) -> dict[str, str]:
    own = _own_headers(error)
    given = raised.headers if isinstance(raised, HTTPException) else None
    return own | {name: value for name, value in (given or {}).items() if name.lower() in _PASSED_ON}


def _own_headers(error: errors.LedgerError) -> dict[str, str]:
    if isinstance(error, Unauthenticated):
        return {"WWW-Authenticate": 'Bearer realm="payment-ledger"'}
    if isinstance(error, MethodNotAllowed):
        return {"Allow": error.allow}
    if isinstance(error, ContentCodingUnsupported):
        return {"Accept-Encoding": "identity"}
    if isinstance(error, TooManyRequests | TooManyPayments):
        return {"Retry-After": str(error.retry_after_seconds)}
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if error.may_retry else {}


def _amount_path(request: Request[Any, Any, Any]) -> str:
    handler = handler_of(request)
    return "amount" if handler is None else str(handler.opt.get("amount_path", "amount"))
