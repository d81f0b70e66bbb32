"""Requests that need a second key: the routes to look at them, to approve them, and to reject them."""

import asyncio
from typing import Annotated, ClassVar

from litestar import Router, get, post
from litestar.params import JSONBody, PathParameter

from api.auth.access import allows
from api.decisions.answers import ApprovalView, approval_view
from api.decisions.approvals import list_approvals, read_approval
from api.decisions.approving import RUN_SECONDS_MAX
from api.decisions.approving import approve as approve_and_carry_out
from api.decisions.approving import reject as reject_request
from api.errors import (
    ApprovalBeforeRecovery,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalKeyEnded,
    ApprovalNotFound,
    ApprovalOfOwn,
    ApproverUnknown,
    NotOverPartitions,
    RequestInvalid,
)
from api.http.cursors import LIMIT_DEFAULT
from api.http.parameters import Limit, Offset
from api.http.problems import AS_COMMAND, WITH_BODY, problems
from api.input.bodies import RequestBody
from api.resources.request import LedgerRequest, Text

ApprovalId = Annotated[str, PathParameter(pattern="^[0-9a-f]{16}$", description="The id of the request.")]


class ApprovalRequest(RequestBody, frozen=True, kw_only=True):
    """The name of the operator who approves or rejects."""

    by: Text

    EXAMPLE: ClassVar[object] = {"by": "Grace Hopper"}


@get("/", opt=allows("operate"), responses=problems(RequestInvalid, NotOverPartitions))
async def list_requests(request: LedgerRequest, limit: Limit = LIMIT_DEFAULT, offset: Offset = 0) -> list[ApprovalView]:
    """List the requests that need a second key, newest first, those that were decided too."""
    return await _page(request, limit, offset)


@get(
    "/{approval_id:str}", opt=allows("operate"), responses=problems(RequestInvalid, ApprovalNotFound, NotOverPartitions)
)
async def read_request(request: LedgerRequest, approval_id: ApprovalId) -> ApprovalView:
    """Show a request, and what became of it."""
    return approval_view(await asyncio.to_thread(read_approval, request.context.only.database, approval_id))


@post(
    "/{approval_id:str}/approve",
    status_code=200,
    opt=allows("operate"),
    responses=problems(
        *AS_COMMAND,
        NotOverPartitions,
        ApprovalNotFound,
        ApprovalOfOwn,
        ApprovalExpired,
        ApprovalDecided,
        ApprovalKeyEnded,
        ApprovalBeforeRecovery,
        ApproverUnknown,
    ),
)
async def approve(request: LedgerRequest, approval_id: ApprovalId, data: JSONBody[ApprovalRequest]) -> ApprovalView:
    """Approve a request of another key, and carry it out, once. A refusal by the ledger is in `result`."""
    approved = await approve_and_carry_out(
        request.context.only.deciding, approval_id, by=request.by, operator=data.by, seconds=RUN_SECONDS_MAX
    )
    return approval_view(approved)


@post(
    "/{approval_id:str}/reject",
    status_code=200,
    opt=allows("operate"),
    responses=problems(
        *WITH_BODY, ApprovalNotFound, ApprovalExpired, ApprovalDecided, ApproverUnknown, NotOverPartitions
    ),
)
async def reject(request: LedgerRequest, approval_id: ApprovalId, data: JSONBody[ApprovalRequest]) -> ApprovalView:
    """Reject a request, or take your own back. It is never carried out.

    One that was approved and cut off can be rejected, unless the ledger has it: then the answer says so.
    """
    rejected = await reject_request(request.context.only.deciding, approval_id, by=request.by, operator=data.by)
    return approval_view(rejected)


@get("/audit/approvals", opt=allows("audit"), tags=["audit"], responses=problems(RequestInvalid, NotOverPartitions))
async def audit_requests(
    request: LedgerRequest, limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> list[ApprovalView]:
    """List the requests that need a second key, for auditors: who asked, who approved or rejected, and the result."""
    return await _page(request, limit, offset)


approvals = Router("/approvals", tags=["approvals"], route_handlers=[list_requests, read_request, approve, reject])


async def _page(request: LedgerRequest, limit: int, offset: int) -> list[ApprovalView]:
    found = await asyncio.to_thread(list_approvals, request.context.only.database, limit=limit, offset=offset)
    return [approval_view(each) for each in found]
