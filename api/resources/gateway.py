"""The gateway as a whole: the routes to look at it, to pause it, and to let it be called again."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar, Final

from litestar import Router, get, post
from litestar.params import JSONBody

from api.auth.access import allows
from api.http.problems import WITH_BODY, problems
from api.input.bodies import RequestBody
from api.resources.request import LedgerRequest, Text
from api.views.gateway import GatewayView, gateway_view
from ledger.domain.events import GatewayChange
from ledger.errors import StoreInactive
from ledger.operation.gateway import SQL, GatewayStanding, change_gateway, standing_of
from ledger.operation.state import GATEWAY, GatewayWord

_FROM_LEAST: Final[Sequence[GatewayWord]] = ("paused", "open", "held", "closed")


class OperationRequest(RequestBody, frozen=True, kw_only=True):
    """The reason for a change, and the name of the operator."""

    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {"why": "The gateway's maintenance, until ten", "by": "Ada Lovelace"}


@get("/", opt=allows("operate"), responses=problems())
async def read_gateway(request: LedgerRequest) -> GatewayView:
    """Tell whether the gateway is called, and since when and why it is not.

    In a ledger with several partitions each has a breaker of its own, and the answer is about one that calls least.
    """
    asking = (each.pool.rows(SQL["read_state"], {"gateway": GATEWAY}) for each in request.context.partitions)
    return _least([gateway_view(standing_of(rows[0])) for rows in await asyncio.gather(*asking)])


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
    return _least([gateway_view(each) for each in changed if isinstance(each, GatewayStanding)])


def _least(views: Sequence[GatewayView]) -> GatewayView:
    """Return the first of those in which the gateway is called least."""
    return min(views, key=lambda view: _FROM_LEAST.index(view.state))
