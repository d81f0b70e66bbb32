"""Drives payments through the gateway: claims what is due, calls, and reports the outcome to the ledger's writer.

A claim takes no more rows than there are free call slots, leases them and counts the attempt, and is committed before
the call. A worker that dies in the middle leaves a lease that runs out; whoever finds it records that attempt as lost
before anything else happens to the payment. A worker that was held up begins no call when its lease has run out: by
then the gateway may have been asked, and may have said that it never saw the payment. What follows from an answer is
decided in `payment_process`; the schedule is in the database. When the queue has nothing more the worker sleeps until
it is told of new work, or something is due.
"""

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import psycopg
import stamina
import structlog
from msgspec import Struct, structs

from ledger.command_ids import new_command_id
from ledger.commands import (
    FollowUp,
    GatewayReport,
    InquireAfter,
    RecordGatewayOutcome,
    RecordInquiry,
    RetryAfter,
)
from ledger.database import Database
from ledger.decisions import QueueAction
from ledger.errors import Refusal, StaleCommand, Unavailable
from ledger.events import PaymentKind
from ledger.fail_points import fail_point
from ledger.heartbeat import Heartbeat, new_instance
from ledger.sql import load_statements
from ledger.wakeup import listen_statement
from ledger.writer import Writer
from processors.gateway import Gateway, PayCall
from processors.outcomes import GatewayAnswer, Unknown
from processors.payment_process import PaymentSeen, follow_inquiry, follow_up
from processors.retry_policy import RetryPolicy

SQL: Final = load_statements("processors", "worker.sql")

LEASE_EXPIRED: Final = "lease_expired"
DRAIN_SECONDS: Final = 6.0
"""How long calls under way may take when the worker is asked to stop; what is lost then is found by its lease."""

BEAT_SECONDS: Final = 2.0
"""How often the worker says that it is alive."""

GATHER_SECONDS: Final = 0.008
"""How long after a claim that took all there was the next one comes at the earliest. It costs the same for many."""

SLEEP_SECONDS_MIN: Final = 0.01
"""A row that is due and locked by somebody at this very moment is not to make the worker spin."""

SESSION: Final = {
    # The queue is looked at by its indexes, row by row and in their order. Without this, a plan could read all of it at
    # each claim: one made while it was empty, or one for a long queue, which takes a claim for a tenth of it.
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
    # A plan made anew for each size of a page or claim takes longer than it saves (see ledger/writer.py).
    "plan_cache_mode": "force_generic_plan",
}
_STALE_TRIES_MAX: Final = 10
_log = structlog.get_logger()


class Claim(Struct, frozen=True):
    """A queue row that this worker has leased. `lapsed` says that somebody else's lease on it had run out."""

    payment_id: int
    account_id: int
    kind: PaymentKind
    amount_minor: int
    fee_minor: int
    currency: str
    series: int
    gateway_key: str
    attempt: int
    action: QueueAction
    inquiries: int
    unknown: bool
    payment_version: int
    trace_context: str | None
    lapsed: bool


class Worker:
    """Calls the gateway for all payments of one partition; any number of workers may share the work."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        gateway: Gateway,
        policy: RetryPolicy,
        *,
        concurrency: int,
        lease_seconds: float,
        poll_interval_seconds: float,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.name = new_instance()
        self._heartbeat = Heartbeat("worker", self.name)
        self._beat_at = 0.0
        self._claimed_at = 0.0
        self._database = database
        self._writer = writer
        self._gateway = gateway
        self._policy = policy
        self._concurrency = concurrency
        self._lease = timedelta(seconds=lease_seconds)
        self._poll_interval_seconds = poll_interval_seconds
        self._jitter = jitter
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopping = False

    def stop(self) -> None:
        """Claim nothing more, and let `run` end when the calls under way have ended."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until stopped. A lost database is waited for; every other error is a mistake of ours and ends it."""
        listening = asyncio.create_task(self._listen())
        try:
            while not self._stopping:
                # Connecting again is what helps against a lost database; the queue is still there.
                async for attempt in stamina.retry_context(
                    on=self._database_lost, attempts=None, timeout=None, wait_max=1.0
                ):
                    with attempt:
                        await self._work()
        finally:
            listening.cancel()
            await self._drain()
            with suppress(asyncio.CancelledError):
                await listening

    def _database_lost(self, error: Exception) -> bool:
        return isinstance(error, psycopg.OperationalError) and not self._stopping

    async def _work(self) -> None:
        async with await self._connect() as connection:
            await self._heartbeat.start_async(connection)
            while not self._stopping:
                self._wake.clear()
                await self._beat(connection)
                free = self._concurrency - len(self._calls)
                claims = await self._claim(connection, free) if free else []
                for claim in claims:
                    self._begin(claim)
                if not free:
                    await self._sleep(self._poll_interval_seconds)
                elif len(claims) < free:
                    await self._sleep(await self._until_due(connection))
                    await asyncio.sleep(self._claimed_at + GATHER_SECONDS - time.monotonic())
            await self._heartbeat.stop_async(connection)

    async def _beat(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if (now := time.monotonic()) >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            await self._heartbeat.beat_async(connection)

    async def _claim(self, connection: psycopg.AsyncConnection[Any], limit: int) -> list[Claim]:
        parameters = {"limit": limit, "lease": self._lease, "worker": self.name}
        fail_point("worker.before_claim")
        self._claimed_at = time.monotonic()
        cursor = await connection.execute(SQL["claim_due"], parameters, prepare=True, binary=True)
        claims = [Claim(*row) async for row in cursor]
        if claims:
            fail_point("worker.after_claim")
        return claims

    async def _until_due(self, connection: psycopg.AsyncConnection[Any]) -> float:
        cursor = await connection.execute(SQL["next_due"], prepare=True, binary=True)
        row = await cursor.fetchone()
        seconds = row and row[0]
        return self._poll_interval_seconds if seconds is None else min(seconds, self._poll_interval_seconds)

    async def _sleep(self, seconds: float) -> None:
        """Sleep until woken: by news, by a free slot, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, SLEEP_SECONDS_MIN)):
                await self._wake.wait()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        conninfo = self._database.conninfo(application="payment-ledger worker", options=SESSION)
        return await psycopg.AsyncConnection.connect(conninfo, autocommit=True)

    async def _listen(self) -> None:
        """Wake the worker when the writer says that there is work; without a connection it only polls."""
        while True:
            with suppress(psycopg.OperationalError):
                async with await self._connect() as connection:
                    await connection.execute(listen_statement(self._database, "queue"))
                    async for _ in connection.notifies():
                        self._wake.set()
            await asyncio.sleep(self._poll_interval_seconds)

    # --- one claim ---

    def _begin(self, claim: Claim) -> None:
        # Counted from before the claim was sent, and so ends before the lease, which the database counts from later on.
        leased_until = self._claimed_at + self._lease.total_seconds()
        task = asyncio.create_task(self._handle(claim, leased_until=leased_until))
        self._calls.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if len(self._calls) == self._concurrency:
            self._wake.set()  # a slot is free, and the queue may hold more than there were
        self._calls.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("call_failed", exc_info=error)

    async def _handle(self, claim: Claim, *, leased_until: float) -> None:
        fail_point("worker.before_call")
        if claim.action == "inquire":
            report: GatewayReport = await self._inquire(claim)
        elif claim.lapsed:
            lost = GatewayAnswer(outcome=Unknown(LEASE_EXPIRED), http_status=None, answer_digest=None, elapsed_ms=0)
            report = self._outcome(claim, lost)
        elif time.monotonic() > leased_until:
            _log.warning("call_not_begun", payment_id=claim.payment_id, attempt=claim.attempt)
            return
        else:
            report = self._outcome(claim, await self._gateway.pay(_pay_call(claim)))
        fail_point("worker.after_call")
        await self._report(report)
        if isinstance(report.then, RetryAfter | InquireAfter):
            self._wake.set()  # it may be due before what the worker sleeps for

    def _outcome(self, claim: Claim, answer: GatewayAnswer) -> RecordGatewayOutcome:
        seen = PaymentSeen(attempt=claim.attempt, unknown_before=claim.unknown)
        then = follow_up(seen, answer.outcome, policy=self._policy, jitter=self._jitter())
        return RecordGatewayOutcome(
            command_id=new_command_id(),
            payment_id=claim.payment_id,
            account_id=claim.account_id,
            seen_version=claim.payment_version,
            series=claim.series,
            attempt=claim.attempt,
            gateway_key=claim.gateway_key,
            outcome=answer.outcome.NAME,
            http_status=answer.http_status,
            error=answer.error,
            reference=answer.reference,
            answer_digest=answer.answer_digest,
            elapsed_ms=answer.elapsed_ms,
            then=then,
        )

    async def _inquire(self, claim: Claim) -> RecordInquiry:
        answer = await self._gateway.inquire(claim.payment_id, claim.gateway_key, traceparent=claim.trace_context)
        inquiry = claim.inquiries + 1
        then: FollowUp = follow_inquiry(inquiry, answer.outcome, policy=self._policy, jitter=self._jitter())
        return RecordInquiry(
            command_id=new_command_id(),
            payment_id=claim.payment_id,
            account_id=claim.account_id,
            seen_version=claim.payment_version,
            series=claim.series,
            gateway_key=claim.gateway_key,
            inquiry=inquiry,
            answer=answer.outcome.NAME,
            http_status=answer.http_status,
            error=answer.error,
            reference=answer.reference,
            answer_digest=answer.answer_digest,
            elapsed_ms=answer.elapsed_ms,
            then=then,
        )

    async def _report(self, report: GatewayReport) -> None:
        """Bring a report to the writer, whatever it takes: the answer of a gateway is not to be lost.

        A payment that has moved on is looked at again: what the report then does to it, the payment itself decides.
        """
        for _ in range(_STALE_TRIES_MAX):
            try:
                await self._bring(report)
            except StaleCommand as stale:
                report = structs.replace(report, seen_version=stale.version)
            except Refusal as refusal:
                _log.error("report_refused", payment_id=report.payment_id, code=refusal.code, why=str(refusal))
                return
            else:
                return

    async def _bring(self, report: GatewayReport) -> None:
        """Hand a report to the writer, again and again while the writer cannot take it. Raises Refusal."""
        try:
            await self._write(report)
        except Unavailable:  # only then, because preparing to try again costs more than a report
            async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=None, wait_max=1.0):
                with attempt:
                    await self._write(report)

    async def _write(self, report: GatewayReport) -> None:
        fail_point("worker.before_outcome")
        await self._writer.execute(report)
        fail_point("worker.after_outcome")

    async def _drain(self) -> None:
        """Let the calls under way end; what takes too long is found by its lease."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()


def _pay_call(claim: Claim) -> PayCall:
    return PayCall(
        payment_id=claim.payment_id,
        user_id=claim.account_id,
        kind=claim.kind,
        amount_minor=claim.amount_minor,
        fee_minor=claim.fee_minor,
        currency=claim.currency,
        gateway_key=claim.gateway_key,
        traceparent=claim.trace_context,
    )
