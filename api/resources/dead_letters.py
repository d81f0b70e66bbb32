"""Dead letters: the routes to list payments that need an operator, and to requeue or resolve them."""

from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import ClassVar, Final

from litestar import Router, get, post
from litestar.params import JSONBody
from msgspec import Raw, field

from api.auth.access import allows
from api.context import PartitionContext
from api.decisions.answers import DecisionView, decision_view
from api.decisions.approvals import Approval
from api.decisions.letter_decisions import Decided, decide
from api.errors import (
    ApprovalBeforeRecovery,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalKeyEnded,
    ApprovalWaiting,
    ApproverUnknown,
    IdempotencyKeyInvalid,
    NotOverPartitions,
    RequestInvalid,
)
from api.http.amounts import amount
from api.http.cursors import LIMIT_DEFAULT
from api.http.idempotency_keys import decision_key
from api.http.parameters import AmountAboveZero, Limit, Offset
from api.http.problems import AS_COMMAND, problems
from api.http.responses import REPLAYED_HEADER, Answer, replay_headers
from api.input.bodies import RequestBody
from api.operator.dead_letters import requeue_payment
from api.queries.merged import page_by_offset
from api.resources.request import IdempotencyKeyHeader, LedgerRequest, PaymentId, Text
from api.views.dead_letters import DeadLetterView, letter_view
from ledger.domain.commands import AdjustPayment, ResolvePayment
from ledger.domain.events import AdjustedAgainst, Resolution
from ledger.domain.kinds import Direction
from ledger.errors import (
    AmountInvalid,
    BalanceLimitExceeded,
    CommandRejected,
    ContradictionNotNamed,
    CurrencyNotSupported,
    GatewayDisagrees,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    InsufficientFunds,
    NotAdjustable,
    NotRequeueable,
    NotResolvable,
    PaymentNotFound,
    StaleCommand,
)
from ledger.store.statements import load_statements
from projections.models.dead_letter import Letter

SQL: Final = load_statements("api.resources", "dead_letters.sql")

_AS_DECISION: Final = (
    *AS_COMMAND,
    NotOverPartitions,
    PaymentNotFound,
    InsufficientFunds,
    BalanceLimitExceeded,
    CommandRejected,
    IdempotencyKeyInvalid,
    IdempotencyKeyMissing,
    IdempotencyKeyReused,
    ApproverUnknown,
    ApprovalExpired,
    ApprovalDecided,
    ApprovalKeyEnded,
    ApprovalBeforeRecovery,
    ApprovalWaiting,
)
"""The errors that each decision about a letter can get, for the documentation."""


class RequeueRequest(RequestBody, frozen=True, kw_only=True):
    """The reason for sending a payment to the gateway again, and the name of the operator."""

    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {"why": "The gateway was down for an hour", "by": "Ada Lovelace"}


class ResolveRequest(RequestBody, frozen=True, kw_only=True):
    """The outcome of a payment, how the operator knows it, and the name of the operator.

    Of several contradictions, `gateway_key` names the one that is closed. Only with `force` may the outcome go against
    a clear answer of the gateway.
    """

    outcome: Resolution
    gateway_key: Text | None = None
    force: bool = False
    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {
        "outcome": "success",
        "why": "The gateway's daily report has it",
        "by": "Ada Lovelace",
    }


class AdjustRequest(RequestBody, frozen=True, kw_only=True):
    """Money that the gateway moved beside the payment's end, booked against the user's account or suspense.

    Without `direction` and `amount` it is what the payment itself moves, without its fee. Of several contradictions,
    `gateway_key` names the one that the booking settles.
    """

    against: AdjustedAgainst
    direction: Direction | None = None
    amount: AmountAboveZero = field(default_factory=Raw)
    gateway_key: Text | None = None
    why: Text
    by: Text

    EXAMPLE: ClassVar[object] = {
        "against": "suspense",
        "why": "The gateway paid out twice; the bank asks for the money back",
        "by": "Ada Lovelace",
    }


@get("/", opt=allows("operate"), responses=problems(RequestInvalid))
async def list_dead_letters(
    request: LedgerRequest, limit: Limit = LIMIT_DEFAULT, offset: Offset = 0
) -> list[DeadLetterView]:
    """List the dead letters, newest first.

    Over several partitions they are only about in order, because their clocks may differ.
    """
    lists = [_letters_of(partition) for partition in request.context.partitions]
    found = await page_by_offset(lists, offset=offset, limit=limit, at=attrgetter("created_at"))
    return [letter_view(letter, partition=request.context.of(letter.payment_id).label) for letter in found]


@post(
    "/{payment_id:str}/requeue",
    status_code=202,
    opt=allows("operate", names_user="payment"),
    response_headers=[REPLAYED_HEADER],
    responses=problems(*_AS_DECISION, NotRequeueable, CurrencyNotSupported),
)
async def requeue(
    request: LedgerRequest, payment_id: PaymentId, data: JSONBody[RequeueRequest], key: IdempotencyKeyHeader = None
) -> Answer[DecisionView]:
    """Send a payment that failed at the gateway to it again; the money of a withdrawal is held again."""
    settings = request.context.settings
    command = requeue_payment(
        settings,
        command_id=request.id,
        payment_id=payment_id,
        why=data.why,
        idempotency_key=decision_key(key),
        **request.signed(data.by),
    )
    return _answer(request, await decide(request.context.of(payment_id).deciding, command))


@post(
    "/{payment_id:str}/resolve",
    status_code=202,
    opt=allows("operate", names_user="payment"),
    response_headers=[REPLAYED_HEADER],
    responses=problems(*_AS_DECISION, NotResolvable, ContradictionNotNamed, GatewayDisagrees, StaleCommand),
)
async def resolve(
    request: LedgerRequest, payment_id: PaymentId, data: JSONBody[ResolveRequest], key: IdempotencyKeyHeader = None
) -> Answer[DecisionView]:
    """Close a dead letter with an outcome that the operator knows from elsewhere. The gateway is asked first.

    An outcome against its clear answer needs `force`. When it cannot be asked, or is not clear, the decision goes
    through, and `gateway` says so.
    """
    command = ResolvePayment(
        command_id=request.id,
        by=request.signed(data.by)["by"],
        operator=request.signed(data.by).get("operator"),
        payment_id=payment_id,
        outcome=data.outcome,
        why=data.why,
        gateway_key=data.gateway_key,
        force=data.force,
        idempotency_key=decision_key(key),
    )
    return _answer(request, await decide(request.context.of(payment_id).deciding, command))


@post(
    "/{payment_id:str}/adjust",
    status_code=202,
    opt=allows("operate", names_user="payment"),
    response_headers=[REPLAYED_HEADER],
    responses=problems(*_AS_DECISION, NotAdjustable, ContradictionNotNamed, IdempotencyKeyMissing, AmountInvalid),
)
async def adjust(
    request: LedgerRequest, payment_id: PaymentId, data: JSONBody[AdjustRequest], key: IdempotencyKeyHeader = None
) -> Answer[DecisionView]:
    """Book what the gateway did beside the payment's end: a balanced entry, with its reason and its author."""
    command = AdjustPayment(
        command_id=request.id,
        by=request.signed(data.by)["by"],
        operator=request.signed(data.by).get("operator"),
        payment_id=payment_id,
        why=data.why,
        against=data.against,
        direction=data.direction,
        amount=amount(data.amount) if bytes(data.amount) else None,
        gateway_key=data.gateway_key,
        idempotency_key=decision_key(key),
    )
    return _answer(request, await decide(request.context.of(payment_id).deciding, command))


dead_letters = Router("/dlq", tags=["dead letters"], route_handlers=[list_dead_letters, requeue, resolve, adjust])


def _letters_of(partition: PartitionContext) -> Callable[[int, int], Awaitable[list[Letter]]]:
    async def read(offset: int, limit: int) -> list[Letter]:
        rows = await partition.pool.rows(SQL["page_of_letters"], {"limit": limit, "offset": offset})
        return [Letter(*row) for row in rows]

    return read


def _answer(request: LedgerRequest, decided: Decided | Approval) -> Answer[DecisionView]:
    if isinstance(decided, Approval):
        headers = {"Location": f"/api/v1/approvals/{decided.id}"}
        return Answer(decision_view(decided), status_code=202, headers=headers)
    request.context.count(decided.standing)
    headers = replay_headers(replayed=decided.standing.replayed)
    return Answer(decision_view(decided), status_code=202, headers=headers)
