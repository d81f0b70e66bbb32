"""The demo gateway at the original's address: requests are forwarded to the demo gateway's process.

Its answers, errors included, pass through unchanged and are not problem documents. A problem document is sent only when
the request is invalid or the demo gateway cannot be reached.
"""

from typing import Annotated, Any, ClassVar, Final

from litestar import Router, get, post
from litestar.params import JSONBody, QueryParameter

from api.auth.access import allows
from api.errors import (
    DemoGatewayUnavailable,
    IdempotencyKeyInvalid,
    RequestInvalid,
)
from api.http.idempotency_keys import idempotency_key
from api.http.parameters import Amount
from api.http.problems import WITH_BODY, problems
from api.http.responses import Answer
from api.input.bodies import RequestBody
from api.queries.demo_gateway import GatewayReply
from api.resources.request import IdempotencyKeyHeader, Identifier, LedgerRequest, PaymentId
from ledger.domain.identifiers import ID_MAX
from ledger.domain.kinds import PaymentKind

EFFECTS_MAX: Final = 1_000
EFFECTS_DEFAULT: Final = 100

After = Annotated[int, QueryParameter(ge=0, le=ID_MAX, description="The list begins after this effect's number.")]
EffectsLimit = Annotated[int, QueryParameter(ge=1, le=EFFECTS_MAX, description="The most effects to list.")]


class GatewayPayment(RequestBody, frozen=True, kw_only=True):
    """The money that the gateway is asked to move."""

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
    opt=allows("payments:write"),
    responses=problems(*WITH_BODY, IdempotencyKeyInvalid, DemoGatewayUnavailable),
)
async def pay(
    request: LedgerRequest,
    data: JSONBody[GatewayPayment],  # noqa: ARG001 - decoded only to check it; the body is forwarded unchanged
    key: IdempotencyKeyHeader = None,
) -> Answer[dict[str, Any]]:
    """Ask the demo gateway to move money. It fails and times out at the rates in its settings."""
    headers = {"Content-Type": "application/json"} | _key(key)
    return _answer(
        await request.context.demo_gateway.forward("POST", "/pay", body=await request.body(), headers=headers)
    )


@get(
    "/payments/{payment_id:str}",
    opt=allows("read"),
    responses=problems(RequestInvalid, IdempotencyKeyInvalid, DemoGatewayUnavailable),
)
async def inquire(
    request: LedgerRequest, payment_id: PaymentId, key: IdempotencyKeyHeader = None
) -> Answer[dict[str, Any]]:
    """Ask the demo gateway for the outcome of a payment."""
    path = f"/payments/{payment_id}"
    return _answer(await request.context.demo_gateway.forward("GET", path, headers=_key(key)))


@get("/effects", opt=allows("read"), responses=problems(RequestInvalid, DemoGatewayUnavailable))
async def list_effects(
    request: LedgerRequest, after: After = 0, limit: EffectsLimit = EFFECTS_DEFAULT
) -> Answer[dict[str, Any]]:
    """Read the demo gateway's book: the money that it has moved, oldest first."""
    return _answer(await request.context.demo_gateway.forward("GET", f"/effects?after={after}&limit={limit}"))


mock_gateway = Router("/mock-gateway", tags=["demo gateway"], route_handlers=[pay, inquire, list_effects])


def _key(header: str | None) -> dict[str, str]:
    key = idempotency_key(header)
    return {} if key is None else {"Idempotency-Key": key}


def _answer(reply: GatewayReply) -> Answer[dict[str, Any]]:
    return Answer(reply.body, status_code=reply.status, headers=reply.headers)  # type: ignore[arg-type]
