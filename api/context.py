"""The application context: the writer, the queries and the settings that handlers of one application use.

The context is made with the application and runs while the application is served. A handler gets it from its request.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from api.auth.access import Access
from api.auth.exposure import needs_keys
from api.auth.key_ring import KeyRing
from api.auth.pages import Pages
from api.decisions.gateway_questions import GatewayQuestions
from api.decisions.parts import DecidingParts
from api.http.deadlines import SharedDeadline
from api.http.request_body import BODY_SECONDS_MAX
from api.limits.rates import RateLimits
from api.limits.stores import budgets_of
from api.queries.accounts import AccountQueries
from api.queries.demo_gateway import DemoGatewayClient
from api.queries.history import HistoryQueries
from api.queries.payments import PaymentQueries
from api.queries.pool import ReadPool
from api.queries.service_status import ServiceStatus
from api.settings import Settings
from api.telemetry.process import ProcessMetrics
from ledger.domain.commands import Command
from ledger.domain.identifiers import slot
from ledger.errors import LedgerError, PaymentNotFound
from ledger.observe import observe_with, stop_observing
from ledger.partition.partition import Partition, Partitions
from ledger.recovery.noted_head import NotedHeads
from ledger.writer.writer import Writer

VERIFICATIONS_MAX: Final = 2
"""How many verifications of the log one process runs at once; further ones wait."""

AnswerT = TypeVar("AnswerT")


class PartitionContext:
    """One partition for the handlers: its writer and its queries."""

    def __init__(self, settings: Settings, partition: Partition) -> None:
        """Put the parts together; nothing runs before `running`."""
        self.number = partition.number
        self.database = partition.database
        self.writer = Writer(
            partition.database,
            slots=partition.slots,
            batch_max=settings.writer_batch_max,
            queue_max=settings.writer_queue_max,
            noted_heads=NotedHeads(settings.noted_heads_folder),
        )
        self.pool = ReadPool(partition.database)
        self.history = HistoryQueries(partition.database)
        self.payments = PaymentQueries(self.pool, self.history, partition=partition.number)
        self.accounts = AccountQueries(self.pool, self.history, partition=partition.number)
        self.service_status = ServiceStatus(self.pool)
        self.deciding = DecidingParts(
            settings=settings,
            partition=partition,
            writer=self.writer,
            pool=self.pool,
            history=self.history,
            questions=GatewayQuestions(settings, self.pool),
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts; at the end, write the waiting commands and answer their callers."""
        async with AsyncExitStack() as stack:
            await self.pool.open()
            stack.push_async_callback(self.pool.close)
            stack.push_async_callback(self.history.close)
            stack.push_async_callback(self.payments.close)
            stack.push_async_callback(self.accounts.close)
            stack.push_async_callback(self.service_status.close)
            stack.push_async_callback(self.deciding.questions.close)
            self.writer.start()
            stack.push_async_callback(asyncio.to_thread, self.writer.stop)
            yield


class AppContext:
    """The context of all handlers: the settings, and for each partition its writer and its queries.

    `process_metrics` are the figures of this process. `rates` limits callers, and is None when no rate is set. All
    bodies share `body_deadline`; `verifying` is held while the log is verified; `idempotency_hits` counts the requests
    that got the answer of an earlier one.
    """

    def __init__(self, settings: Settings, partitions: Partitions) -> None:
        """Put the parts together; nothing runs before `running`."""
        self.settings = settings
        self.partitions = tuple(PartitionContext(settings, partition) for partition in partitions)
        self.body_deadline = SharedDeadline(BODY_SECONDS_MAX)
        self.demo_gateway = DemoGatewayClient(settings.demo_gateway_url)
        self.verifying = asyncio.Semaphore(VERIFICATIONS_MAX)
        self.process_metrics = ProcessMetrics()
        self.idempotency_hits = 0
        self.needs_keys = needs_keys(settings)
        self.keys = KeyRing(self.partitions[0].database, refreshes=self.needs_keys)
        self.access = Access(
            self.keys,
            required=self.needs_keys,
            ignored=settings.auth == "off",
            pages=Pages(
                origins=settings.cors_origins or (), host=settings.host if settings.auth == "loopback" else None
            ),
            owner_of=self._owner_of,
        )
        self.budgets = budgets_of(settings)
        self.rates = (
            None
            if self.budgets is None
            else RateLimits(
                self.access,
                self.budgets.take,
                requests_per_second=settings.limit_requests_per_second,
                payments_per_minute=settings.limit_payments_per_minute,
            )
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts of all partitions."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.demo_gateway.close)
            if self.budgets is not None:
                stack.push_async_callback(self.budgets.close)
            await stack.enter_async_context(self.keys.running())
            observe_with(self.process_metrics.observe)
            stack.callback(stop_observing, self.process_metrics.observe)
            for partition in self.partitions:
                await stack.enter_async_context(partition.running())
            yield

    def of(self, identifier: int) -> PartitionContext:
        """The partition of a user or a payment, by its id."""
        return self.partitions[slot(identifier) % len(self.partitions)]

    async def _owner_of(self, payment_id: int) -> int | None:
        """Return the user of a payment; None for one that does not exist."""
        try:
            return (await self.of(payment_id).payments.get(payment_id)).account_id
        except PaymentNotFound:
            return None

    @property
    def only(self) -> PartitionContext:
        """The partition of a ledger that has one; for requests that are not yet answered from several."""
        assert len(self.partitions) == 1, "the ledger has several partitions"
        return self.partitions[0]

    async def execute(self, identifier: int | None, command: Command[AnswerT]) -> AnswerT:
        """Carry out a command about a user or a payment, or one about neither. Raises what the writer raises."""
        partition = self.only if identifier is None else self.of(identifier)
        answer = await partition.writer.execute(command)
        self.count(answer)
        return answer

    async def execute_all(self, commands: Sequence[Command[AnswerT]]) -> "list[AnswerT | LedgerError]":
        """Carry out several commands in order; a refused command has its refusal as answer.

        Raises the other errors of the writer.
        """
        answers = await self.only.writer.execute_all(commands)
        for answer in answers:
            self.count(answer)
        return answers

    def count(self, answer: object) -> None:
        """Count an answer that is that of an earlier request."""
        self.idempotency_hits += bool(getattr(answer, "replayed", False))
