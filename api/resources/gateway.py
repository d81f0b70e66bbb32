"""The gateway as a whole: the routes to look at it, to pause it, and to let it be called again."""

import asyncio
from typing import ClassVar

from litestar import Router, get, post
from litestar.params import JSONBody

from api.auth.access import allows
from api.http.problems import WITH_BODY, problems
from api.input.bodies import RequestBody
from api.resources.request import LedgerRequest, Text
from api.views.gateway import GatewayView, gateway_view, gateways_view
from ledger.domain.events import GatewayChange
from ledger.errors import StoreInactive
from ledger.operation.gateway import SQL, GatewayStanding, change_gateway, standing_of
from ledger.operation.state import GATEWAY


class OperationRequest(RequestBody, frozen=True, kw_only=True):
    """The reason for a change, and the name of the operator."""

    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {"why": "The gateway's maintenance, until ten", "by": "Ada Lovelace"}


@get("/", opt=allows("operate"), responses=problems())
async def read_gateway(request: LedgerRequest) -> GatewayView:
    """Tell whether the gateway is called, and since when and why it is not.

    Over several partitions each has a state of its own, and the answer is about the one that is farthest from calling.
    """
    states = await request.context.ask_all(
        lambda partition: partition.pool.rows(SQL["read_state"], {"gateway": GATEWAY})
    )
    return gateways_view([gateway_view(standing_of(rows[0])) for rows in states])


@post("/pause", status_code=200, opt=allows("operate"), responses=problems(*WITH_BODY, StoreInactive))
async def pause(request: LedgerRequest, data: JSONBody[OperationRequest]) -> GatewayView:
    """Call the gateway no more until it is resumed. Payments are accepted and wait; calls under way end as they do.

    While a partition cannot be reached, the others are paused and the answer is 503: send it again.
    """
    return await _changed(request, "paused", data)


@post("/resume", status_code=200, opt=allows("operate"), responses=problems(*WITH_BODY, StoreInactive))
async def resume(request: LedgerRequest, data: JSONBody[OperationRequest]) -> GatewayView:
    """Call a paused gateway again. A breaker that is open stays so until a probe is answered."""
    return await _changed(request, "resumed", data)


gateway = Router("/gateway", tags=["gateway"], route_handlers=[read_gateway, pause, resume])


async def _changed(request: LedgerRequest, change: GatewayChange, data: OperationRequest) -> GatewayView:
    signed = request.signed(data.by)
    changing = (
        asyncio.to_thread(
            change_gateway,
            each.database,
            change,
            why=data.why,
            by=signed["by"],
            operator=signed.get("operator"),
            command_id=request.id,
        )
        for each in request.context.partitions
    )
    changed = await asyncio.gather(*changing, return_exceptions=True)  # each of them is tried
    for each in changed:
        if isinstance(each, BaseException):
            raise each
    return gateways_view([gateway_view(each) for each in changed if isinstance(each, GatewayStanding)])
