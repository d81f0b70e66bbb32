"""The demo gateway at the address where the original had its own; the answers are those of the demo gateway's process.

They are a gateway's answers, errors included, and no problem documents; those come only when it cannot be reached.
"""

from typing import Annotated, Any, ClassVar, Final

from litestar import Router, get, post
from litestar.params import JSONBody, QueryParameter
from msgspec import Struct

from api.amounts import Amount
from api.answers import Answer
from api.errors import (
    DemoGatewayUnavailable,
    IdempotencyKeyInvalid,
    RequestInvalid,
)
from api.mock_gateway_client import GatewayReply
from api.problems import WITH_BODY, problems
from api.requests import IdempotencyKeyHeader, Identifier, LedgerRequest, PaymentId, idempotency_key
from ledger.events import PaymentKind
from ledger.identifiers import ID_MAX

EFFECTS_MAX: Final = 1_000
EFFECTS_DEFAULT: Final = 100

After = Annotated[int, QueryParameter(ge=0, le=ID_MAX, description="The number behind which to begin.")]
EffectsLimit = Annotated[int, QueryParameter(ge=1, le=EFFECTS_MAX, description="How many effects to list at most.")]


class GatewayPayment(Struct, frozen=True, kw_only=True):
    """What the gateway is asked to move."""

    payment_id: Identifier
    user_id: Identifier
    amount: Amount
    commission: Amount
    type: PaymentKind

    EXAMPLE: ClassVar[object] = {
        "payment_id": 1,
        "user_id": 1,
        "amount": 200.0,
        "commission": 4.0,
        "type": "deposit",
    }


@post(
    "/pay",
    status_code=200,
    responses=problems(*WITH_BODY, IdempotencyKeyInvalid, DemoGatewayUnavailable),
)
async def pay(
    request: LedgerRequest,
    data: JSONBody[GatewayPayment],  # noqa: ARG001 - read to check it; the body is passed on as it came
    key: IdempotencyKeyHeader = None,
) -> Answer[dict[str, Any]]:
    """Ask the demo gateway to move money. It errs and times out as it is set to."""
    headers = {"Content-Type": "application/json"} | _key(key)
    return _answer(await request.parts.mock_gateway.forward("POST", "/pay", body=await request.body(), headers=headers))


@get("/payments/{payment_id:str}", responses=problems(RequestInvalid, IdempotencyKeyInvalid, DemoGatewayUnavailable))
async def inquire(
    request: LedgerRequest, payment_id: PaymentId, key: IdempotencyKeyHeader = None
) -> Answer[dict[str, Any]]:
    """Ask the demo gateway what became of a payment."""
    path = f"/payments/{payment_id}"
    return _answer(await request.parts.mock_gateway.forward("GET", path, headers=_key(key)))


@get("/effects", responses=problems(RequestInvalid, DemoGatewayUnavailable))
async def list_effects(
    request: LedgerRequest, after: After = 0, limit: EffectsLimit = EFFECTS_DEFAULT
) -> Answer[dict[str, Any]]:
    """Read the demo gateway's book: what it has moved, oldest first."""
    return _answer(await request.parts.mock_gateway.forward("GET", f"/effects?after={after}&limit={limit}"))


mock_gateway = Router("/mock-gateway", tags=["demo gateway"], route_handlers=[pay, inquire, list_effects])


def _key(header: str | None) -> dict[str, str]:
    key = idempotency_key(header)
    return {} if key is None else {"Idempotency-Key": key}


def _answer(reply: GatewayReply) -> Answer[dict[str, Any]]:
    return Answer(reply.body, status_code=reply.status, headers=reply.headers)  # type: ignore[arg-type]
