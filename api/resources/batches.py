"""Batches: up to 1,000 payments in one request, in order, each accepted or refused on its own.

Each payment of a batch stays raw JSON until it is decoded on its own, so that one malformed payment does not affect the
others.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec
from litestar import Router, post
from litestar.params import JSONBody, KwargDefinition
from msgspec import UNSET, Meta, Raw, Struct

from api.auth.access import allows
from api.errors import FieldError, RequestError, RequestInvalid, TooManyPayments
from api.http.amounts import amount
from api.http.idempotency_keys import IDEMPOTENCY_KEY_PATTERN, idempotency_key
from api.http.parameters import AmountAboveZero
from api.http.problems import AS_COMMAND, ProblemDocument, problem_document, problems, too_little_money
from api.input.bodies import RequestBody, decode
from api.resources.request import Identifier, LedgerRequest
from api.views.payments import PaymentAccepted, accepted
from ledger.domain.commands import REQUESTS, PaymentAcceptance, RequestPayment
from ledger.domain.kinds import PaymentKind
from ledger.errors import AmountInvalid, LedgerError, OutcomeUnknown, TooManyWaiting, Unavailable

BATCH_MAX: Final = 1_000

Shape = dict[str, Any]
"""Types of fields for the documentation, where they say more than the fields' own types."""


class BatchItem(RequestBody, frozen=True, kw_only=True):
    """One payment of a batch, with its own optional idempotency key."""

    type: PaymentKind
    user_id: Identifier
    amount: AmountAboveZero
    idempotency_key: Annotated[str | None, KwargDefinition(pattern=IDEMPOTENCY_KEY_PATTERN)] = None

    EXAMPLE: ClassVar[object] = {"type": "deposit", "user_id": 1, "amount": 200, "idempotency_key": "order-77"}


class BatchRequest(RequestBody, frozen=True, kw_only=True):
    """Payments, which the ledger accepts or refuses one by one, in this order."""

    payments: Annotated[list[Raw], Meta(min_length=1, max_length=BATCH_MAX)]

    ELSEWHERE: ClassVar[Mapping[str, str]] = {"idempotencykey": "give each payment its own"}

    SHAPE: ClassVar[Shape] = {"payments": Annotated[list[BatchItem], KwargDefinition(min_items=1, max_items=BATCH_MAX)]}
    EXAMPLE: ClassVar[object] = {"payments": [BatchItem.EXAMPLE, {"type": "withdraw", "user_id": 1, "amount": "50.00"}]}


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """The result for each payment of a batch, in order: the payment, or a problem, which has a `code`."""

    results: list[Any]

    SHAPE: ClassVar[Shape] = {"results": list[PaymentAccepted | ProblemDocument]}
    EXAMPLE: ClassVar[object] = {"results": [PaymentAccepted.EXAMPLE, ProblemDocument.EXAMPLE]}


@post(
    "/batch",
    status_code=200,
    opt=allows("payments:write", names_user="body"),
    responses=problems(*AS_COMMAND, TooManyPayments, TooManyWaiting),
)
async def take_batch(request: LedgerRequest, data: JSONBody[BatchRequest]) -> BatchAnswer:
    """Accept up to 1,000 payments in one request. Each is answered as if it had been sent alone.

    A batch of which no payment could be served is 503 itself, or 429 if all of them wait for others of their users.
    Each may have its own `idempotency_key`; an `Idempotency-Key` header for the whole batch is refused.
    """
    _refuse_key_for_all(request)
    await request.take_payments(len(data.payments))
    settings = request.context.settings
    common = {
        "command_id": request.id,
        "by": request.by,
        "fee_rate_ppm": settings.fee_rate_ppm,
        "currencies": settings.gateway_currencies,
        "trace_context": request.trace_context,
        "waiting_max": settings.limit_waiting_payments,
    }
    items = [_payment_request(request, raw, index, common) for index, raw in enumerate(data.payments)]
    answers = await request.context.execute_payments([item for item in items if not isinstance(item, ProblemDocument)])
    _refuse_unserved(answers, of=len(items))
    return BatchAnswer(results=_in_order(items, answers))


batches = Router("/payments", tags=["payments"], route_handlers=[take_batch])


def _refuse_key_for_all(request: LedgerRequest) -> None:
    """Refuse a key for the whole batch. Ignoring it would be wrong: a client that relies on it would pay twice."""
    if request.headers.get("idempotency-key"):
        raise RequestInvalid.at("Idempotency-Key", "cannot be given for a whole batch; give each payment its own")


def _refuse_unserved(answers: Sequence[PaymentAcceptance | LedgerError], *, of: int) -> None:
    """Refuse a whole batch of which no payment could be served. Raises Unavailable: OutcomeUnknown if any outcome is.

    200 would say that the ledger has looked at the payments.
    """
    unserved = [answer for answer in answers if isinstance(answer, Unavailable)]
    if len(unserved) == of:
        raise next((each for each in unserved if isinstance(each, OutcomeUnknown)), unserved[0])


def _payment_request(
    request: LedgerRequest, raw: Raw, index: int, common: Mapping[str, Any]
) -> RequestPayment | ProblemDocument:
    """Decode one payment of a batch; one that cannot be decoded, or is another user's, becomes a problem.

    `common` has the fields that the commands of all payments share.
    """
    try:
        item: BatchItem = decode(bytes(raw), BatchItem, strict=request.context.settings.strict_input)
        request.refuse_other_users(item.user_id)
        return REQUESTS[item.type](
            **common,
            account_id=item.user_id,
            amount=amount(item.amount),
            idempotency_key=idempotency_key(item.idempotency_key),
        )
    except (RequestError, AmountInvalid) as error:
        return _item_problem(error, index)


def _in_order(
    items: Sequence[RequestPayment | ProblemDocument], answers: Sequence[PaymentAcceptance | LedgerError]
) -> list[PaymentAccepted | ProblemDocument]:
    """Merge the answers with the problems of payments that could not be decoded, in the order of the batch."""
    left = iter(answers)
    return [
        item if isinstance(item, ProblemDocument) else _result(next(left), index) for index, item in enumerate(items)
    ]


def _result(answer: PaymentAcceptance | LedgerError, index: int) -> PaymentAccepted | ProblemDocument:
    if isinstance(answer, LedgerError):
        return _item_problem(answer, index)
    return _placed(too_little_money(answer), index) if answer.refused else accepted(answer)


def _item_problem(error: LedgerError, index: int) -> ProblemDocument:
    """Describe the error of one payment of a batch."""
    return _placed(problem_document(error, UNSET, key_path="idempotency_key"), index)


def _placed(document: ProblemDocument, index: int) -> ProblemDocument:
    """Prefix each path with the payment's index in the batch."""
    if isinstance(document.errors, list):
        place = f"payments[{index}]"
        paths = [FieldError(f"{place}.{each.path}".rstrip("."), each.message) for each in document.errors]
        return msgspec.structs.replace(document, errors=paths)
    return document
