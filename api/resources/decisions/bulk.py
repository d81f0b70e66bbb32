"""Many dead letters: the routes to list what a decision would do, and to carry it out by the digest of that list."""

from typing import Annotated, ClassVar, Final

from litestar import Router, post
from litestar.params import JSONBody
from msgspec import Meta

from api.auth.access import allows
from api.decisions.answers import BulkPlanView, BulkReportView, plan_view, report_view
from api.decisions.approvals import Approval
from api.decisions.approving import RUN_SECONDS_MAX, run_or_ask
from api.decisions.bulk import Sender, make_plan
from api.decisions.bulk_plan import BulkAction, BulkDecision, LetterFilter
from api.errors import ApproverUnknown, LettersChanged, NotOverPartitions, PlanNotFound, RequestInvalid
from api.http.problems import AS_COMMAND, WITH_BODY, problems
from api.http.responses import Answer
from api.http.times import Timestamp, parse_timestamp
from api.input.bodies import RequestBody
from api.resources.request import Identifier, LedgerRequest, Text
from ledger.domain.events import Resolution
from ledger.domain.kinds import PaymentKind
from ledger.domain.payment import LetterState
from ledger.errors import CommandRejected

LETTERS_DEFAULT: Final = 1_000
LETTERS_MAX: Final = 2_000
"""The most letters of a list over HTTP, so that it is made within 5 seconds; the command line has no such limit."""

ASKING_SECONDS_MAX: Final = 2.0
"""How long one request asks the gateway, so that its answer comes within 5 seconds."""


class BulkPlanRequest(RequestBody, frozen=True, kw_only=True):
    """The decision, and which letters are meant; a field that is left out filters nothing.

    `outcome` and `force` belong to `resolve`; with `force` it also goes against clear answers of the gateway. `since`
    is a time with an offset. The list has the oldest letters, `limit` at most.
    """

    action: BulkAction
    outcome: Resolution | None = None
    force: bool = False
    state: LetterState | None = None
    error: Text | None = None
    since: Timestamp | None = None
    user_id: Identifier | None = None
    payment_type: PaymentKind | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] | None = None
    limit: Annotated[int, Meta(ge=1, le=LETTERS_MAX)] = LETTERS_DEFAULT

    EXAMPLE: ClassVar[object] = {"action": "requeue", "state": "failed", "error": "gateway_error_502"}


class BulkRunRequest(RequestBody, frozen=True, kw_only=True):
    """The digest of the list that is to be carried out, the reason, and the name of the operator."""

    digest: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {
        "digest": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "why": "The gateway was down for an hour",
        "by": "Ada Lovelace",
    }


@post("/plan", status_code=200, opt=allows("operate"), responses=problems(*WITH_BODY, NotOverPartitions))
async def plan_many(request: LedgerRequest, data: JSONBody[BulkPlanRequest]) -> BulkPlanView:
    """List what a decision about many letters would do, letter by letter. Nothing is done.

    For a resolution the gateway is asked. Where the gateway is slow, the list has fewer letters, and `more` is true.
    """
    plan, more = await make_plan(
        request.context.only.deciding,
        _decision(data),
        LetterFilter(
            state=data.state,
            error=data.error,
            since=parse_timestamp(data.since, path="since"),
            user_id=data.user_id,
            kind=data.payment_type,
            currency=data.currency,
        ),
        limit=data.limit,
        by=request.by,
        seconds=ASKING_SECONDS_MAX,
    )
    return plan_view(plan, more=more)


@post(
    "/run",
    status_code=202,
    opt=allows("operate"),
    responses=problems(*AS_COMMAND, PlanNotFound, LettersChanged, ApproverUnknown, CommandRejected, NotOverPartitions),
)
async def run_many(request: LedgerRequest, data: JSONBody[BulkRunRequest]) -> Answer[BulkReportView]:
    """Carry out a list by its digest. If the letters have changed since, nothing is done.

    Send it again while `remaining` is not 0: each letter is decided about once.
    """
    sender = Sender(why=data.why, command_id=request.id, **request.signed(data.by))
    report = await run_or_ask(request.context.only.deciding, data.digest, sender, seconds=RUN_SECONDS_MAX)
    headers = {"Location": f"/api/v1/approvals/{report.id}"} if isinstance(report, Approval) else {}
    return Answer(report_view(report, digest=data.digest), status_code=202, headers=headers)


bulk = Router("/dlq/bulk", tags=["dead letters"], route_handlers=[plan_many, run_many])


def _decision(data: BulkPlanRequest) -> BulkDecision:
    """Read the decision. Raises RequestInvalid for an outcome that does not belong to the action."""
    if (data.outcome is None) == (data.action == "resolve"):
        raise RequestInvalid.at("outcome", "belongs to `resolve`, which needs it, and to nothing else")
    if data.force and data.action != "resolve":
        raise RequestInvalid.at("force", "belongs to `resolve` only")
    return BulkDecision(action=data.action, outcome=data.outcome, force=data.force)
