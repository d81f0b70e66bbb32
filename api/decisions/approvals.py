"""Requests that wait for a second key: asked, approved or rejected, and what became of them.

With `OPERATE_FOUR_EYES` a booking, and a decision that may go against the gateway, is stored here with who asked for
it, and carried out when another key with the scope `operate` approves it. It is carried out under an idempotency key of
the approval, so approving twice, or once more after a crash, does it once. The writer decides it then as any command,
about the payment at the version at which it was asked for.
"""

import secrets
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from api.errors import (
    ApprovalBeforeRecovery,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalKeyEnded,
    ApprovalNotFound,
    ApprovalOfOwn,
    ApprovalWaiting,
    ApproverUnknown,
)
from ledger.domain.commands import AdjustPayment, ResolvePayment
from ledger.errors import IdempotencyKeyReused
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.log import clock_of
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.decisions", "approvals.sql")

LIFETIME: Final = timedelta(days=1)
"""How long a request waits for its second key."""

CARRY_OUT_TIME: Final = timedelta(hours=1)
"""How long after that an approved request that was cut off may still be carried out."""

Action = Literal["resolve", "adjust", "bulk"]
Decision = Literal["approved", "rejected"]
ApprovalState = Literal["waiting", "expired", "key_ended", "before_recovery", "rejected", "approved", "done", "refused"]


class BulkRequest(Struct, frozen=True, kw_only=True):
    """A run of a decision about many letters: the digest of its list, who runs it, and why."""

    command_id: str
    digest: str
    why: str
    by: str | None = None
    operator: str | None = None
    approved_by: str | None = None
    idempotency_key: str | None = None


Request = ResolvePayment | AdjustPayment | BulkRequest

_KINDS: Final[Mapping[Action, type[Any]]] = {"resolve": ResolvePayment, "adjust": AdjustPayment, "bulk": BulkRequest}


class ApprovalResult(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The result of an approved request: the payment's state, or the code and the words of the refusal.

    For many letters `state` is `done`, and `detail` has the numbers. With `detail` alone, a part of them was done
    before the request was rejected.
    """

    state: str | None = None
    refused: str | None = None
    detail: str | None = None


class Approval(Struct, frozen=True, kw_only=True):
    """A request for a second key, as it is stored, and the clock when it was read.

    `is_before_recovery` says that the store was recovered since, and `key_ended` that the asking key is not live now.
    """

    id: str
    action: Action
    payment_id: int | None
    gateway_key: str | None
    request: Request
    requested_at: datetime
    requested_by: str
    operator: str
    why: str
    expires_at: datetime
    decided_at: datetime | None
    decided_by: str | None
    decided_operator: str | None
    decision: Decision | None
    result: ApprovalResult | None
    is_before_recovery: bool
    key_ended: bool
    clock: datetime

    @property
    def state(self) -> ApprovalState:
        """The state in a word. `approved` says that it is not yet carried out: approve it again, or it was cut off."""
        if self.result is not None and self.result.refused is not None:
            return "refused"
        if self.result is not None and self.result.state is not None:
            return "done"
        match self.decision:
            case "rejected":
                return "rejected"
            case None if self.clock < self.expires_at:
                return "before_recovery" if self.is_before_recovery else "key_ended" if self.key_ended else "waiting"
            case "approved" if self.clock < self.expires_at + CARRY_OUT_TIME:
                return "before_recovery" if self.is_before_recovery else "approved"
        return "expired"

    def refuse_ended(self) -> None:
        """Raise ApprovalExpired, ApprovalKeyEnded or ApprovalBeforeRecovery when it can be carried out no more."""
        match self.state:
            case "expired":
                raise ApprovalExpired(approval_id=self.id)
            case "key_ended":
                raise ApprovalKeyEnded(approval_id=self.id)
            case "before_recovery":
                raise ApprovalBeforeRecovery(approval_id=self.id)
            case _:
                return

    @property
    def to_carry_out(self) -> Request:
        """The request with both keys, under an idempotency key that makes it safe to carry out again."""
        assert self.decision == "approved", self
        key = self.request.idempotency_key or f"approval-{self.id}"
        return replace(self.request, approved_by=self.decided_by, idempotency_key=key)


def ask_approval(database: Database, request: Request, *, gateway_key: str | None = None) -> Approval:
    """Store a request. One that was sent before under the same key is that one. `gateway_key` is shown with it.

    Raises ApproverUnknown for a caller without a key, IdempotencyKeyReused for another request under the key, and
    ApprovalDecided, or what `Approval.refuse_ended` raises, when the one before waited in vain. Raises ApprovalWaiting
    when another request with the same action waits about the payment, and OutcomeUnknown when the commit is in doubt.
    """
    if request.operator is None or request.by is None:
        raise ApproverUnknown
    facts = {
        "id": secrets.token_hex(8),
        "action": next(action for action, kind in _KINDS.items() if isinstance(request, kind)),
        "payment_id": None if isinstance(request, BulkRequest) else request.payment_id,
        "gateway_key": gateway_key,
        "request": msgspec.json.encode(request),
        "idempotency_key": request.idempotency_key,
        "by": request.by,
        "operator": request.operator,
        "why": request.why,
        "lifetime": LIFETIME,
    }
    with closing(_connect(database)) as connection, certain_commits(connection), connection.transaction():
        standing, is_same = _ask(connection, facts)
    if not is_same:
        raise ApprovalWaiting(approval_id=standing.id)
    if _as_sent(standing.request) != _as_sent(request):
        raise IdempotencyKeyReused(key=request.idempotency_key or "")
    standing.refuse_ended()
    if standing.state == "rejected":
        raise ApprovalDecided(approval_id=standing.id, decision="rejected")
    return standing


def _ask(connection: Any, facts: dict[str, Any]) -> tuple[Approval, bool]:  # noqa: ANN401 - psycopg's connection
    """Store a request, or find the one under its key; or else, with False, the one that waits in its place."""
    connection.execute(SQL["lock_payment"], facts)
    if (row := connection.execute(SQL["touch_by_key"], facts).fetchone()) is not None:
        return _read(connection, row[0]), True
    for (approval_id,) in connection.execute(SQL["touch_open"], facts).fetchall():
        other = _read(connection, approval_id)
        if other.state in {"waiting", "approved"}:
            return other, False
    connection.execute(SQL["ask"], facts | {"now": clock_of(connection)})
    return _read(connection, facts["id"]), True


def read_approval(database: Database, approval_id: str) -> Approval:
    """Read one. Raises ApprovalNotFound."""
    with closing(_connect(database)) as connection:
        return _read(connection, approval_id)


def list_approvals(database: Database, *, limit: int, offset: int = 0) -> list[Approval]:
    """List all, the newest first."""
    with closing(_connect(database)) as connection:
        clock = clock_of(connection)
        rows = connection.execute(SQL["page"], {"limit": limit, "offset": offset, "now": clock}).fetchall()
        return [_approval(row, clock) for row in rows]


def decide_approval(
    database: Database, approval_id: str, decision: Decision, *, by: str | None, operator: str
) -> Approval:
    """Approve or reject a request; the same decision again changes nothing, also by another key.

    An approved request whose end is not noted can be rejected; look first whether it was carried out. Raises
    ApprovalNotFound, ApprovalOfOwn, ApprovalDecided, what `Approval.refuse_ended` raises, ApproverUnknown for a caller
    without a key, and OutcomeUnknown when the commit is in doubt.
    """
    if by is None:
        raise ApproverUnknown
    with closing(_connect(database)) as connection, certain_commits(connection), connection.transaction():
        facts = {"id": approval_id, "by": by, "operator": operator, "now": clock_of(connection)}
        statement = SQL["approve" if decision == "approved" else "reject"]
        decided = connection.execute(statement, facts).fetchone() is not None
        if not decided:
            connection.execute(SQL["touch"], facts)
        standing = _read(connection, approval_id)
    if decided:
        return standing
    if decision == "approved" and standing.requested_by == by:
        raise ApprovalOfOwn(approval_id=approval_id)
    if standing.decision == decision:
        return standing
    if standing.decision is None:
        standing.refuse_ended()
    raise ApprovalDecided(approval_id=approval_id, decision=str(standing.decision))


def note_result(database: Database, approval_id: str, result: ApprovalResult) -> Approval:
    """Note what became of an approved request, once it was carried out."""
    with closing(_connect(database)) as connection:
        connection.execute(SQL["note_result"], {"id": approval_id, "result": msgspec.json.encode(result)})
        return _read(connection, approval_id)


def _connect(database: Database) -> Any:  # noqa: ANN401 - psycopg's connection
    return database.connect(application="payment-ledger approvals", options=WARNED)


def _as_sent(request: Request) -> Request:
    """Return a request without what each sending of it has for itself."""
    if isinstance(request, BulkRequest):
        return replace(request, command_id="")
    return replace(request, command_id="", seen_version=None)


def _read(connection: Any, approval_id: str) -> Approval:  # noqa: ANN401 - psycopg's connection
    clock = clock_of(connection)
    row = connection.execute(SQL["read"], {"id": approval_id, "now": clock}).fetchone()
    if row is None:
        raise ApprovalNotFound(approval_id=approval_id)
    return _approval(row, clock)


def _approval(row: Any, clock: datetime) -> Approval:  # noqa: ANN401 - a row of the table
    facts = dict(zip(Approval.__struct_fields__, (*row, clock), strict=True))
    facts["request"] = msgspec.json.decode(facts["request"], type=_KINDS[facts["action"]])
    facts["result"] = facts["result"] and msgspec.json.decode(facts["result"], type=ApprovalResult)
    return Approval(**facts)
