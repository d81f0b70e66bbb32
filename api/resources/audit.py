"""The audit over HTTP: pages of the log, its verification, and the trial balance.

The log is read and verified in pages by position, beside payments. Only the sum over the journal is one long
transaction, which the limit for reads bounds.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

from litestar import Router, get
from litestar.params import QueryParameter
from msgspec import Struct

from api.auth.access import allows
from api.context import AppContext, PartitionContext
from api.errors import RequestInvalid
from api.http.cursors import LIMIT_DEFAULT
from api.http.parameters import Limit, PartitionNumber
from api.http.problems import problems
from api.resources.request import LedgerRequest
from api.views.payments import EventView, event_view
from api.views.trial_balance import TrialBalanceView, read_journal_sums, trial_balance_view
from ledger.audit.findings import AuditError, AuditReport
from ledger.audit.verify import HEAD_SEAL_DIFFERS, beyond, verify_seals
from ledger.domain.identifiers import ID_MAX
from ledger.store import history
from ledger.store.log import Head

VERIFY_MAX: Final = 100_000
VERIFY_DEFAULT: Final = 10_000
After = Annotated[int, QueryParameter(ge=0, le=ID_MAX, description="The page begins after this position.")]
VerifyLimit = Annotated[int, QueryParameter(ge=1, le=VERIFY_MAX, description="The most events to check.")]


class LogEntry(EventView, frozen=True, kw_only=True):
    """An event of the log with its seal, the digest that chains it to all events before it, in hex."""

    seal: str

    EXAMPLE: ClassVar[object] = {**EventView.EXAMPLE, "seal": "9f" * 32}  # type: ignore[dict-item]


class LogPage(Struct, frozen=True, kw_only=True):
    """A page of the log, oldest first. Send `next_after` as `after` to get the next page; it is null at the end."""

    items: list[LogEntry]
    partition: int
    position: int
    next_after: int | None

    EXAMPLE: ClassVar[object] = {"items": [LogEntry.EXAMPLE], "partition": 0, "position": 120, "next_after": None}


class VerifyView(Struct, frozen=True, kw_only=True):
    """The result of checking the seals of the events after `after`, up to `checked_to`, and the log's last position.

    A page that does not begin at 0 trusts the seal before it, so only all pages together prove the whole log.
    `next_after` is null when the check reached the end of the log.
    """

    ok: bool
    partition: int
    position: int
    digest: str
    checked_to: int
    checked_digest: str
    events: int
    errors: list[AuditError]
    next_after: int | None

    EXAMPLE: ClassVar[object] = {
        "ok": True,
        "partition": 0,
        "position": 120,
        "digest": "9f" * 32,
        "checked_to": 120,
        "checked_digest": "9f" * 32,
        "events": 120,
        "errors": [],
        "next_after": None,
    }


@get("/events", opt=allows("audit"), responses=problems(RequestInvalid))
async def list_events(
    request: LedgerRequest, after: After = 0, limit: Limit = LIMIT_DEFAULT, partition: "PartitionNumber" = None
) -> LogPage:
    """Read a page of the log, oldest first. A position that the log does not have is refused.

    Of several partitions each has a log of its own, with positions of its own.
    """
    of = request.context.numbered(partition)
    head, rows = await _read_log(of, after=after, limit=limit)
    return _log_page(of.number, head, rows)


@get("/verify", opt=allows("audit"), responses=problems(RequestInvalid))
async def verify(
    request: LedgerRequest, after: After = 0, limit: VerifyLimit = VERIFY_DEFAULT, partition: "PartitionNumber" = None
) -> VerifyView:
    """Recompute the seals of a page of the log. A position that the log does not have is an error.

    The last page also compares the last seal with the head's. `payment-ledger audit verify` checks the whole log, and
    everything else in the store that follows from it.
    """
    of = request.context.numbered(partition)
    head, report = await _verify(request.context, of, after=after, limit=limit)
    return _verified(of.number, head, report, after=after)


@get("/trial-balance", opt=allows("audit"), responses=problems())
async def trial_balance(request: LedgerRequest) -> TrialBalanceView:
    """Sum up the journal: the postings of each currency add up to zero, and customers own what their accounts hold."""
    return trial_balance_view(await request.context.ask_all(lambda partition: read_journal_sums(partition.pool)))


audit = Router("/audit", tags=["audit"], route_handlers=[list_events, verify, trial_balance])


async def _read_log(of: PartitionContext, *, after: int, limit: int) -> tuple[Head, list[tuple[int, Any, bytes]]]:
    head = await of.pool.read(history.read_head)
    if after > head.position:
        raise RequestInvalid.at("after", beyond(head.position))
    return head, await of.pool.read(lambda connection: history.read_log(connection, after=after, limit=limit))


async def _verify(context: AppContext, of: PartitionContext, *, after: int, limit: int) -> tuple[Head, AuditReport]:
    async with context.verifying:
        head = await of.pool.read(history.read_head)
        upto = min(after + limit, head.position)
        return head, await asyncio.to_thread(verify_seals, of.database, start=after + 1, upto=upto)


def _log_page(partition: int, head: Head, rows: Sequence[tuple[int, Any, bytes]]) -> LogPage:
    last = rows[-1][0] if rows else head.position
    return LogPage(
        items=[_log_entry(partition, *row) for row in rows],
        partition=partition,
        position=head.position,
        next_after=last if last < head.position else None,
    )


def _log_entry(partition: int, position: int, recorded: Any, seal: bytes) -> LogEntry:  # noqa: ANN401 - an event of any kind
    event = event_view(position, recorded, partition=partition)
    return LogEntry(seal=seal.hex(), **{name: getattr(event, name) for name in EventView.__struct_fields__})


def _verified(partition: int, head: Head, report: AuditReport, *, after: int) -> VerifyView:
    errors = list(report.errors)
    if after > head.position:
        errors.append(AuditError(after, beyond(head.position)))
    if report.position == head.position and report.digest != head.digest.hex():
        errors.append(AuditError(head.position, HEAD_SEAL_DIFFERS))
    return VerifyView(
        ok=not errors,
        partition=partition,
        position=head.position,
        digest=head.digest.hex(),
        checked_to=report.position,
        checked_digest=report.digest,
        events=report.events,
        errors=errors,
        next_after=report.position if report.position < head.position else None,
    )
