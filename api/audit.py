"""The audit over HTTP: the log as it is, the proof that it was not changed, and the books that follow from it.

All of it comes in pages by position, so that it can go on beside payments; nothing here holds a long transaction but
the sum over the journal, which the service's limit for reads bounds.
"""

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

from litestar import Router, get
from litestar.params import QueryParameter
from msgspec import Struct

from api.errors import RequestInvalid
from api.pages import LIMIT_DEFAULT, Limit
from api.parts import Parts
from api.payments import EventView, event_view
from api.problems import problems
from api.requests import LedgerRequest
from api.trial_balance import TrialBalanceView, read_trial_balance
from ledger import history
from ledger.audit import HEAD_DOES_NOT_FIT, verify_seals
from ledger.audit_findings import AuditError, AuditReport
from ledger.identifiers import ID_MAX
from ledger.log import Head

VERIFY_MAX: Final = 100_000
VERIFY_DEFAULT: Final = 10_000
After = Annotated[int, QueryParameter(ge=0, le=ID_MAX, description="The position behind which to begin.")]
VerifyLimit = Annotated[int, QueryParameter(ge=1, le=VERIFY_MAX, description="How many events to check at most.")]


class LogEntry(EventView, frozen=True, kw_only=True):
    """An event of the log with its seal, the digest that chains it to all events before it, in hex."""

    seal: str

    EXAMPLE: ClassVar[object] = {**EventView.EXAMPLE, "seal": "9f" * 32}  # type: ignore[dict-item]


class LogPage(Struct, frozen=True, kw_only=True):
    """A page of the log, oldest first. `next_after` is what to send as `after` for the next one; null at the end."""

    items: list[LogEntry]
    position: int
    next_after: int | None

    EXAMPLE: ClassVar[object] = {"items": [LogEntry.EXAMPLE], "position": 120, "next_after": None}


class VerifyView(Struct, frozen=True, kw_only=True):
    """The log's end, and whether the seals of the events behind `after` are what they have to be, up to `checked_to`.

    A page that does not begin at 0 trusts the seal before it, so only all pages together prove the whole log.
    `next_after` is null when the log's end was reached.
    """

    ok: bool
    position: int
    digest: str
    checked_to: int
    checked_digest: str
    events: int
    errors: list[AuditError]
    next_after: int | None

    EXAMPLE: ClassVar[object] = {
        "ok": True,
        "position": 120,
        "digest": "9f" * 32,
        "checked_to": 120,
        "checked_digest": "9f" * 32,
        "events": 120,
        "errors": [],
        "next_after": None,
    }


@get("/events", responses=problems(RequestInvalid))
async def list_events(request: LedgerRequest, after: After = 0, limit: Limit = LIMIT_DEFAULT) -> LogPage:
    """Read the log, in the order in which it was written."""
    head, rows = await _read_log(request.parts, after=after, limit=limit)
    return _log_page(head, rows)


@get("/verify", responses=problems(RequestInvalid))
async def verify(request: LedgerRequest, after: After = 0, limit: VerifyLimit = VERIFY_DEFAULT) -> VerifyView:
    """Recompute the seals of a page of the log, and at its end compare the last one with the head's.

    `payment-ledger audit verify` checks all of it, and what follows from it.
    """
    head, report = await _verify(request.parts, after=after, limit=limit)
    return _verified(head, report)


@get("/trial-balance", responses=problems())
async def trial_balance(request: LedgerRequest) -> TrialBalanceView:
    """Sum up the journal: all postings of a currency are zero, and what customers own is what their accounts hold."""
    return await read_trial_balance(request.parts.reads)


audit = Router("/audit", tags=["audit"], route_handlers=[list_events, verify, trial_balance])


async def _read_log(parts: Parts, *, after: int, limit: int) -> tuple[Head, list[tuple[int, Any, bytes]]]:
    head = await parts.reads.read(history.read_head)
    return head, await parts.reads.read(lambda connection: history.read_log(connection, after=after, limit=limit))


async def _verify(parts: Parts, *, after: int, limit: int) -> tuple[Head, AuditReport]:
    async with parts.verifying:
        head = await parts.reads.read(history.read_head)
        upto = min(after + limit, head.position)
        return head, await asyncio.to_thread(verify_seals, parts.database, start=after + 1, upto=upto)


def _log_page(head: Head, rows: Sequence[tuple[int, Any, bytes]]) -> LogPage:
    last = rows[-1][0] if rows else head.position
    return LogPage(
        items=[_log_entry(*row) for row in rows],
        position=head.position,
        next_after=last if last < head.position else None,
    )


def _log_entry(position: int, recorded: Any, seal: bytes) -> LogEntry:  # noqa: ANN401 - an event of any kind
    event = event_view(position, recorded)
    return LogEntry(seal=seal.hex(), **{name: getattr(event, name) for name in EventView.__struct_fields__})


def _verified(head: Head, report: AuditReport) -> VerifyView:
    errors = list(report.errors)
    if report.position == head.position and report.digest != head.digest.hex():
        errors.append(AuditError(head.position, HEAD_DOES_NOT_FIT))
    return VerifyView(
        ok=not errors,
        position=head.position,
        digest=head.digest.hex(),
        checked_to=report.position,
        checked_digest=report.digest,
        events=report.events,
        errors=errors,
        next_after=report.position if report.position < head.position else None,
    )
