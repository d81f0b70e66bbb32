"""The worker: claims due payments, calls the gateway, and reports the outcomes to the ledger's writer.

A claim takes at most as many rows as there are free call slots (`call_slots`). It leases them, counts the attempt, and
commits before the call. A worker that dies during a call leaves a lease that expires; the worker that finds the row
first records that attempt as lost. A delayed worker begins no call that could end after its lease: by then another
worker may have inquired, and the gateway may have answered that it never received the payment. `process` decides the
next step from an outcome; the database keeps the schedule. When no row is due, the worker sleeps until a notification
arrives or the next row is due.
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
from msgspec import structs

from ledger.domain.commands import GatewayReport, InquireAfter, RecordGatewayOutcome, RecordInquiry, RetryAfter
from ledger.domain.events import facts_of
from ledger.errors import (
    CommandFailed,
    PoolerSharesSessions,
    Refusal,
    SessionRefused,
    StaleCommand,
    StoreBroken,
    Unavailable,
)
from ledger.fail_points import fail_point
from ledger.micro_batch import NEWS
from ledger.recovery.recover import recover_if_behind
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.commit_warnings import CommitWarnings
from ledger.sessions.outage_log import OutageLog
from ledger.sessions.pauses import FIRST_SECONDS, LONGEST_SECONDS
from ledger.sessions.sqlstates import meaning_of
from ledger.store.database import BY_INDEX, WARNED, Database
from ledger.store.heartbeats import Heartbeat, new_instance
from ledger.store.notifications import listen_statement
from ledger.store.statements import load_statements
from ledger.writer.writer import Writer
from processors.gateways.client import Gateway, PayCall
from processors.gateways.outcomes import GatewayAnswer, InquiryAnswer, NoClearAnswer, Unknown
from processors.payments.call_log import INQUIRY_SWITCHED_OFF, LEASE_EXPIRED, CallLog
from processors.payments.call_slots import CallSlots
from processors.payments.clock_watch import ClockWatch, bound_waits, give_back
from processors.payments.gateway_gate import GatewayGate
from processors.payments.process import FOLLOW_INQUIRY, PaymentSeen, follow_up
from processors.payments.reports import Claim, inquiry_report, outcome_report
from processors.payments.retry_policy import RetryPolicy

SQL: Final = load_statements("processors.payments", "worker.sql")

DRAIN_SECONDS: Final = 6.0
"""How long running calls may take when the worker stops; calls cut off then are found by their expired lease."""

BEAT_SECONDS: Final = 2.0
"""How often the worker sends its heartbeat."""

SLEEP_SECONDS_MIN: Final = 0.01
"""The shortest sleep, so that a due row that another session has locked does not make the worker spin."""

SESSION: Final = {
    **BY_INDEX,
    **WARNED,  # a call begins only once its attempt is counted, also after a crash
    # The queue is looked at by its indexes, row by row and in their order. Without this, a plan for a long queue, which
    # takes a claim for a tenth of it, could read all of it at each claim.
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",
}
ANSWER_SECONDS_MAX: Final = 10.0
"""How long the server may take to answer the worker, before its connection is cut and a new one is made."""

_STALE_TRIES_MAX: Final = 10

STEADY_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""The clock of the leases. A machine that was suspended has to see that they have run out."""

_log = structlog.get_logger()


class Worker:
    """Calls the gateway for the payments of one partition; any number of workers may share the work."""

    def __init__(
        self,
        database: Database,
        writer: Writer,
        gateway: Gateway,
        policy: RetryPolicy,
        *,
        slots: CallSlots,
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
        self._lease = timedelta(seconds=lease_seconds)
        self._poll_interval_seconds = poll_interval_seconds
        self._jitter = jitter
        self._clock = ClockWatch(steady=steady_seconds)
        self._gate = GatewayGate(database, policy, worker=self.name, steady=steady_seconds)
        self._calls: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._slots = slots.worker(self._wake.set)
        self._stopping = False
        self._warnings = CommitWarnings()
        self._outage_log = OutageLog("worker")
        self._call_log = CallLog()

    def stop(self) -> None:
        """Stop claiming, and let `run` end when the running calls have ended."""
        self._stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Work until `stop`. A lost or unfit session is made again; any other error is a bug and ends the worker."""
        listening = asyncio.create_task(self._listen())
        try:
            while not self._stopping:
                # After a lost connection the worker connects again; the queue is in the database and loses nothing.
                async for attempt in stamina.retry_context(
                    on=self._database_lost,
                    attempts=None,
                    timeout=None,
                    wait_initial=FIRST_SECONDS,
                    wait_max=LONGEST_SECONDS,
                    wait_jitter=FIRST_SECONDS,
                ):
                    with attempt:
                        await self._work()
        finally:
            listening.cancel()
            await self._drain()
            await self._gate.stop()
            with suppress(asyncio.CancelledError):
                await listening

    def _database_lost(self, error: Exception) -> bool:
        """Whether a new session may help, and the worker is to make one after a pause."""
        unfit = isinstance(error, SessionRefused | PoolerSharesSessions) or (
            isinstance(error, psycopg.Error) and not meaning_of(error).is_of_data
        )
        if unfit and not self._stopping:
            self._outage_log.failed(str(error).strip())
        return unfit and not self._stopping

    async def _work(self) -> None:
        async with await self._connect() as connection:
            await asyncio.to_thread(recover_if_behind, self._database, self._writer.noted_heads)
            self._warnings.watch(connection)
            with answer_within(connection, ANSWER_SECONDS_MAX):
                await self._heartbeat.start_async(connection)
                await bound_waits(connection, self._policy, lease=self._lease)
            while not self._stopping:
                self._wake.clear()
                with answer_within(connection, ANSWER_SECONDS_MAX):
                    await self._beat(connection)
                    await self._gate.settle(connection)
                    probing = self._gate.is_open and await self._gate.begin_probe(connection)
                    free, begun = await self._begin_due(connection, probing=probing)
                self._outage_log.worked()
                if not free:
                    await self._sleep(self._poll_interval_seconds)
                elif begun < free:
                    await asyncio.sleep(NEWS.pause_seconds)
                    with answer_within(connection, ANSWER_SECONDS_MAX):
                        seconds = await self._until_due(connection)
                    await self._sleep(seconds)
            await self._drain()
            with answer_within(connection, ANSWER_SECONDS_MAX):
                await self._gate.settle(connection)
                await self._heartbeat.stop_async(connection)

    async def _beat(self, connection: psycopg.AsyncConnection[Any]) -> None:
        if (now := time.monotonic()) >= self._beat_at:
            self._beat_at = now + BEAT_SECONDS
            await self._heartbeat.beat_async(connection)

    async def _begin_due(self, connection: psycopg.AsyncConnection[Any], *, probing: bool) -> tuple[int, int]:
        """Begin the due calls, as far as slots are free; return the number of free slots, and of calls begun."""
        free, begun = self._slots.take(), 0
        try:
            claims = await self._claim_due(connection, free, probing=probing) if free else []
            for claim in claims:
                self._begin(claim, probing=probing)
                begun += 1
        finally:
            self._slots.give_back(free - begun)
        return free, begun

    async def _claim_due(self, connection: psycopg.AsyncConnection[Any], free: int, *, probing: bool) -> list[Claim]:
        """Claim as many due entries as slots are free, or one to probe: a call if any, since calls open the breaker."""
        if probing and (calls := await self._claim(connection, 1, probing=True, inquiring=False)):
            return calls
        return await self._claim(connection, 1 if probing else free, probing=probing, inquiring=self._inquiring)

    async def _claim(
        self, connection: psycopg.AsyncConnection[Any], limit: int, *, probing: bool, inquiring: bool
    ) -> list[Claim]:
        asked = {"limit": limit, "lease": self._lease, "worker": self.name, "inquiring": inquiring}
        parameters = self._gate.parameters | asked | {"probing": probing}
        self._warnings.begin()
        fail_point("worker.before_claim")
        self._claimed_at = steady_seconds()
        cursor = await connection.execute(SQL["claim_due"], parameters, prepare=True, binary=True)
        claims = [Claim(*row) async for row in cursor]
        # No call may begin on attempts that only this server has counted; the claims are found by their expired leases.
        self._warnings.check()
        if claims:
            fail_point("worker.after_claim")
            if self._clock.read(claims[0].clock, sent=self._claimed_at):
                claims = await self._clock_was_set(connection, claims)
        return claims

    async def _until_due(self, connection: psycopg.AsyncConnection[Any]) -> float:
        sent = self._clock.steady()
        parameters = self._gate.parameters | {"inquiring": self._inquiring}
        cursor = await connection.execute(SQL["next_due"], parameters, prepare=True, binary=True)
        row = await cursor.fetchone()
        assert row is not None, "a migration makes the gateway's row, and nobody may delete it"
        due_seconds: float | None
        gate_seconds: float | None
        due_seconds, clock, self._gate.is_open, gate_seconds = row
        if self._clock.read(clock, sent=sent):
            await self._clock_was_set(connection, [])
        if due_seconds is None or gate_seconds is None:
            return self._poll_interval_seconds
        return min(max(due_seconds, gate_seconds), self._poll_interval_seconds)

    @property
    def _inquiring(self) -> bool:
        """Whether an inquiry that is due by the database's clock is due indeed."""
        return self._clock.even_for() >= self._policy.settle_seconds

    async def _clock_was_set(self, connection: psycopg.AsyncConnection[Any], claims: list[Claim]) -> list[Claim]:
        """Give back the inquiries among claims that were made at the new time, and let nothing wait by the former."""
        forward_seconds = self._clock.forward_seconds
        _log.warning("clock_was_set", forward_seconds=forward_seconds)
        await give_back(connection, [claim.payment_id for claim in claims if claim.action != "pay"], self.name)
        await bound_waits(connection, self._policy, lease=self._lease, forward_seconds=forward_seconds)
        return [claim for claim in claims if claim.action == "pay"]

    async def _sleep(self, seconds: float) -> None:
        """Sleep until a notification, a free slot, or the end of `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, SLEEP_SECONDS_MIN)):
                await self._wake.wait()

    async def _connect(self) -> psycopg.AsyncConnection[Any]:
        return await self._database.connect_async(application="payment-ledger worker", options=SESSION)

    async def _listen(self) -> None:
        """Wake the worker at the writer's notifications; without a connection the worker only polls."""
        while True:
            with suppress(psycopg.Error, StoreBroken):
                async with await self._connect() as connection:
                    await connection.execute(listen_statement(self._database, "queue"))
                    async for _ in connection.notifies():
                        self._wake.set()
            await asyncio.sleep(self._poll_interval_seconds)

    # --- one claim ---

    def _begin(self, claim: Claim, *, probing: bool) -> None:
        # Counted from before the claim was sent, so it ends before the lease, which the database counts from a later
        # time.
        leased_until = self._claimed_at + self._lease.total_seconds()
        task = asyncio.create_task(self._handle(claim, leased_until=leased_until, probing=probing))
        self._calls.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._calls.discard(task)
        self._slots.give_back()  # which wakes the worker if the queue may have more due rows than there were slots
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("call_failed", exc_info=error)

    async def _handle(self, claim: Claim, *, leased_until: float, probing: bool) -> None:
        fail_point("worker.before_call")
        if claim.action == "pay" and claim.lapsed:
            lost = GatewayAnswer(outcome=Unknown(LEASE_EXPIRED), http_status=None, answer_digest=None, elapsed_ms=0)
            report: GatewayReport = self._outcome(claim, lost)
        elif steady_seconds() + self._gateway.timeout_seconds > leased_until:
            _log.warning("call_not_begun", payment_id=claim.payment_id, action=claim.action, attempt=claim.attempt)
            return
        elif claim.action != "pay":
            report = await self._inquire(claim, probing=probing)
        else:
            call = PayCall(*facts_of(claim), gateway_key=claim.gateway_key, traceparent=claim.trace_context)
            answer = await self._gateway.pay(call)
            self._gate.saw("pay", answer, probing=probing)
            if self._gate.takes_back(claim, answer):
                self._call_log.turned_away(answer.error)
                self._wake.set()
                return
            report = self._outcome(claim, answer)
        self._call_log.note(report, claim.trace_context)
        fail_point("worker.after_call")
        await self._report(report)
        if isinstance(report.then, RetryAfter | InquireAfter):
            self._wake.set()  # the next step may be due before the worker would wake

    def _outcome(self, claim: Claim, answer: GatewayAnswer) -> RecordGatewayOutcome:
        seen = PaymentSeen(series=claim.series, attempt=claim.attempt, unknown_before=claim.unknown)
        then = follow_up(seen, answer.outcome, policy=self._policy, jitter=self._jitter())
        return outcome_report(claim, answer, then)

    async def _inquire(self, claim: Claim, *, probing: bool) -> RecordInquiry:
        answer = await self._asked(claim, probing=probing)
        follow = FOLLOW_INQUIRY[claim.action]
        then = follow(claim.inquiries + 1, answer.outcome, policy=self._policy, jitter=self._jitter())
        return inquiry_report(claim, answer, then)

    async def _asked(self, claim: Claim, *, probing: bool) -> InquiryAnswer:
        """Ask the gateway about a payment, unless it is one that cannot be asked: then the payment is in doubt."""
        if self._policy.inquiry:
            answer = await self._gateway.inquire(claim.payment_id, claim.gateway_key, traceparent=claim.trace_context)
            self._gate.saw("inquire", answer, probing=probing)
            return answer
        nobody = NoClearAnswer(INQUIRY_SWITCHED_OFF)
        return InquiryAnswer(outcome=nobody, http_status=None, answer_digest=None, elapsed_ms=0)

    async def _report(self, report: GatewayReport) -> None:
        """Send a report to the writer, and retry as long as necessary, because a gateway's answer must not be lost.

        When the payment has changed, the report is sent again for its new version, and the ledger decides its effect.
        A report that is given up is in the log of the process. When the entry's lease has run out, a worker makes the
        call again under the same key, or asks again.
        """
        for _ in range(_STALE_TRIES_MAX):
            try:
                await self._write_with_retries(report)
            except StaleCommand as stale:
                report = structs.replace(report, seen_version=stale.version)
            except (Refusal, CommandFailed) as refusal:
                _log.error("report_refused", payment_id=report.payment_id, code=refusal.code, why=str(refusal))
                return
            else:
                return
        _log.error("report_given_up", payment_id=report.payment_id, tries=_STALE_TRIES_MAX)

    async def _write_with_retries(self, report: GatewayReport) -> None:
        """Send a report to the writer, and retry while the writer is unavailable or cannot use the store.

        Raises Refusal, CommandFailed.
        """
        again = Unavailable, StoreBroken
        try:
            await self._write(report)
        except again:  # the retry context is made only now, because making it costs more than a report
            async for attempt in stamina.retry_context(
                on=again,
                attempts=None,
                timeout=None,
                wait_initial=FIRST_SECONDS,
                wait_max=LONGEST_SECONDS,
                wait_jitter=FIRST_SECONDS,
            ):
                with attempt:
                    await self._write(report)

    async def _write(self, report: GatewayReport) -> None:
        fail_point("worker.before_outcome")
        await self._writer.execute(report)
        fail_point("worker.after_outcome")

    async def _drain(self) -> None:
        """Wait for the running calls, and cancel those that take too long; they are found by their expired lease."""
        if self._calls:
            _, late = await asyncio.wait(self._calls, timeout=DRAIN_SECONDS)
            for task in late:
                task.cancel()


def steady_seconds() -> float:
    """The seconds of a clock that nobody sets, and that goes on while the machine is suspended, where there is one."""
    return time.clock_gettime(STEADY_CLOCK)
