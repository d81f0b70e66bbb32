"""Batches: up to a thousand payments in one request, each taken or refused by itself, in their order.

A payment of a batch that cannot be read spoils no other: each is kept as it was written until it is read by itself.
"""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

import msgspec
from litestar import Router, post
from litestar.params import JSONBody, KwargDefinition
from msgspec import UNSET, Meta, Raw, Struct

from api.amounts import AmountAboveZero, amount
from api.errors import FieldError, RequestError, RequestInvalid
from api.payments import PaymentAccepted, accepted
from api.problems import AS_COMMAND, ProblemDocument, describe, problems, too_little_money
from api.requests import IDEMPOTENCY_KEY_PATTERN, Identifier, LedgerRequest, decode, idempotency_key
from ledger.commands import PaymentAcceptance, RequestDeposit, RequestWithdrawal
from ledger.errors import AmountInvalid, LedgerError
from ledger.events import PaymentKind

BATCH_MAX: Final = 1_000

Shape = dict[str, Any]
"""Types of fields for the documentation, where the fields' own say less."""


class BatchItem(Struct, frozen=True, kw_only=True):
    """One payment of a batch, with an idempotency key of its own if it is to have one."""

    type: PaymentKind
    user_id: Identifier
    amount: AmountAboveZero
    idempotency_key: Annotated[str | None, KwargDefinition(pattern=IDEMPOTENCY_KEY_PATTERN)] = None

    EXAMPLE: ClassVar[object] = {"type": "deposit", "user_id": 1, "amount": 200, "idempotency_key": "order-77"}


class BatchRequest(Struct, frozen=True, kw_only=True):
    """Payments to be taken in this order. Each is taken or refused by itself."""

    payments: Annotated[list[Raw], Meta(min_length=1, max_length=BATCH_MAX)]

    SHAPE: ClassVar[Shape] = {"payments": Annotated[list[BatchItem], KwargDefinition(min_items=1, max_items=BATCH_MAX)]}
    EXAMPLE: ClassVar[object] = {"payments": [BatchItem.EXAMPLE, {"type": "withdraw", "user_id": 1, "amount": "50.00"}]}


class BatchAnswer(Struct, frozen=True, kw_only=True):
    """What became of each payment of a batch, in its order: the payment, or a problem, which has a `code`."""

    results: list[Any]

    SHAPE: ClassVar[Shape] = {"results": list[PaymentAccepted | ProblemDocument]}
    EXAMPLE: ClassVar[object] = {"results": [PaymentAccepted.EXAMPLE, ProblemDocument.EXAMPLE]}


@post("/batch", status_code=200, responses=problems(*AS_COMMAND))
async def take_batch(request: LedgerRequest, data: JSONBody[BatchRequest]) -> BatchAnswer:
    """Take up to 1,000 payments in one request. Each is answered as if it had been sent by itself.

    Each has its own `idempotency_key`, if any; an `Idempotency-Key` for all of them is refused.
    """
    _refuse_key_for_all(request)
    rate = request.parts.settings.fee_rate_ppm
    wishes = [_wish(raw, index, command_id=request.id, rate=rate) for index, raw in enumerate(data.payments)]
    answers = await request.parts.execute_all([wish for wish in wishes if not isinstance(wish, ProblemDocument)])
    return BatchAnswer(results=_in_order(wishes, answers))


batches = Router("/payments", tags=["payments"], route_handlers=[take_batch])

Wish = RequestDeposit | RequestWithdrawal


def _refuse_key_for_all(request: LedgerRequest) -> None:
    """Refuse a key that could only be left out: who sends the batch again because of it would pay twice."""
    if request.headers.get("idempotency-key"):
        raise RequestInvalid.at("Idempotency-Key", "cannot be given for a whole batch; give each payment its own")


def _wish(raw: Raw, index: int, *, command_id: str, rate: int) -> Wish | ProblemDocument:
    """Read one payment of a batch; what cannot be read is a problem of its own."""
    try:
        item: BatchItem = decode(bytes(raw), BatchItem)
        command = RequestDeposit if item.type == "deposit" else RequestWithdrawal
        return command(
            command_id=command_id,
            account_id=item.user_id,
            amount=amount(item.amount),
            fee_rate_ppm=rate,
            idempotency_key=idempotency_key(item.idempotency_key),
        )
    except (RequestError, AmountInvalid) as error:
        return _item_problem(error, index)


def _in_order(
    wishes: Sequence[Wish | ProblemDocument], answers: Sequence[PaymentAcceptance | LedgerError]
) -> list[PaymentAccepted | ProblemDocument]:
    """Put the answers back between what could not be read."""
    left = iter(answers)
    return [
        wish if isinstance(wish, ProblemDocument) else _result(next(left), index) for index, wish in enumerate(wishes)
    ]


def _result(answer: PaymentAcceptance | LedgerError, index: int) -> PaymentAccepted | ProblemDocument:
    if isinstance(answer, LedgerError):
        return _item_problem(answer, index)
    return _placed(too_little_money(payment_id=answer.payment_id), index) if answer.refused else accepted(answer)


def _item_problem(error: LedgerError, index: int) -> ProblemDocument:
    """Describe what is wrong with one payment of a batch."""
    return _placed(describe(error, UNSET, key_path="idempotency_key"), index)


def _placed(document: ProblemDocument, index: int) -> ProblemDocument:
    """Put a payment's place in the batch before each path."""
    if isinstance(document.errors, list):
        place = f"payments[{index}]"
        paths = [FieldError(f"{place}.{each.path}".rstrip("."), each.message) for each in document.errors]
        return msgspec.structs.replace(document, errors=paths)
    return document
