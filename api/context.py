"""The application context: the writer, the queries and the settings that handlers of one application use.

The context is made with the application and runs while the application is served. A handler gets it from its request.
"""

import asyncio
import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from msgspec import UNSET, UnsetType

from api.auth.access import Access
from api.auth.exposure import needs_keys
from api.auth.key_ring import KeyRing
from api.auth.pages import Pages
from api.decisions.gateway_questions import GatewayQuestions
from api.decisions.parts import DecidingParts
from api.errors import NotOverPartitions, RequestInvalid
from api.http.deadlines import SharedDeadline
from api.http.request_body import BODY_SECONDS_MAX
from api.limits.rates import RateLimits
from api.limits.stores import budgets_of
from api.queries.accounts import AccountQueries
from api.queries.demo_gateway import DemoGatewayClient
from api.queries.history import HistoryQueries
from api.queries.merged import LedgerId
from api.queries.payments import MergedPayments, PaymentQueries
from api.queries.pool import ReadPool
from api.queries.service_status import ServiceStatus
from api.settings import Settings
from api.telemetry.process import ProcessMetrics
from ledger.domain.commands import AccountOpening, Command, OpenAccount, PaymentAcceptance, RequestPayment
from ledger.domain.identifiers import slot
from ledger.errors import LedgerError, PaymentNotFound, WriterBusy, WriterStopped
from ledger.observe import observe_with, stop_observing
from ledger.partition.partition import Partition, Partitions, partition_of_key
from ledger.recovery.noted_head import NotedHeads
from ledger.writer.writer import Writer

VERIFICATIONS_MAX: Final = 2
"""How many verifications of the log one process runs at once; further ones wait."""

AnswerT = TypeVar("AnswerT")


class PartitionContext:
    """One partition for the handlers: its writer and its queries.

    `label` is its number in answers that name a partition only where there are several, and UNSET where there is one.
    """

    def __init__(self, settings: Settings, partition: Partition) -> None:
        """Put the parts together; nothing runs before `running`."""
        self.number = partition.number
        self.label: int | UnsetType = UNSET if partition.slots.count == 1 else partition.number
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
    that got the answer of an earlier one. `all_payments` lists the payments of all users.
    """

    def __init__(self, settings: Settings, partitions: Partitions) -> None:
        """Put the parts together; nothing runs before `running`."""
        self.settings = settings
        self.partitions = tuple(PartitionContext(settings, partition) for partition in partitions)
        self.all_payments = (
            MergedPayments([each.payments for each in self.partitions], LedgerId(self.first.pool))
            if len(self.partitions) > 1
            else self.first.payments
        )
        self.body_deadline = SharedDeadline(BODY_SECONDS_MAX)
        self.demo_gateway = DemoGatewayClient(settings.demo_gateway_url)
        self.verifying = asyncio.Semaphore(VERIFICATIONS_MAX)
        self.process_metrics = ProcessMetrics()
        self.idempotency_hits = 0
        # Each process begins elsewhere, or all first accounts would be in the first partition.
        self._openings = itertools.count(secrets.randbelow(len(self.partitions)))
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

    @property
    def first(self) -> PartitionContext:
        """The partition that also holds the tables of the whole ledger: keys, approvals, plans for many letters."""
        return self.partitions[0]

    def numbered(self, number: int | None) -> PartitionContext:
        """The partition of a number, which may be left out where there is only one. Raises RequestInvalid."""
        last = len(self.partitions) - 1
        if number is None and last > 0:
            raise RequestInvalid.at("partition", f"is needed, because each partition has a log: 0 to {last}")
        return self.partitions[number or 0]

    async def ask_all(self, ask: Callable[[PartitionContext], Awaitable[AnswerT]]) -> list[AnswerT]:
        """Ask all partitions at once and return their answers in order. Raises what the first that fails raises."""
        return await asyncio.gather(*(ask(partition) for partition in self.partitions))

    async def _owner_of(self, payment_id: int) -> int | None:
        """Return the user of a payment; None for one that does not exist."""
        try:
            return (await self.of(payment_id).payments.get(payment_id)).account_id
        except PaymentNotFound:
            return None

    @property
    def only(self) -> PartitionContext:
        """The partition of a ledger that has one, for routes that serve no other yet. Raises NotOverPartitions."""
        if len(self.partitions) > 1:
            raise NotOverPartitions
        return self.partitions[0]

    async def execute(self, identifier: int, command: Command[AnswerT]) -> AnswerT:
        """Carry out a command about a user or a payment. Raises what the writer raises."""
        answer = await self.of(identifier).writer.execute(command)
        self.count(answer)
        return answer

    async def open_account(self, command: OpenAccount) -> AccountOpening:
        """Open an account: with a key in the partition that follows from it, else in each partition in turn.

        Raises what the writer raises.
        """
        answer = await self._to_open_in(command).writer.execute(command)
        self.count(answer)
        return answer

    async def execute_payments(self, requests: Sequence[RequestPayment]) -> "list[PaymentAcceptance | LedgerError]":
        """Request several payments; those of one partition in order, and those of several at the same time.

        The answers are in the order of the requests; a refused one has its refusal. Raises WriterBusy, WriterStopped;
        in a ledger with several partitions these are the answers to the payments of their partition.
        """
        if len(self.partitions) == 1:
            answers = await self.partitions[0].writer.execute_all(requests)
        else:
            answers = await self._execute_divided(requests)
        for answer in answers:
            self.count(answer)
        return answers

    async def _execute_divided(self, requests: Sequence[RequestPayment]) -> "list[PaymentAcceptance | LedgerError]":
        places: dict[int, list[int]] = {}
        for place, request in enumerate(requests):
            places.setdefault(self.of(request.account_id).number, []).append(place)
        shares = await asyncio.gather(
            *(_answers(self.partitions[number].writer, [requests[n] for n in own]) for number, own in places.items())
        )
        placed = {
            place: answer
            for own, share in zip(places.values(), shares, strict=True)
            for place, answer in zip(own, share, strict=True)
        }
        return [placed[place] for place in range(len(requests))]

    def _to_open_in(self, command: OpenAccount) -> PartitionContext:
        """Choose the partition of a new account. Without a key, one that could be written a moment ago is preferred."""
        if (key := command.key) is not None:
            return self.partitions[partition_of_key(*key, count=len(self.partitions))]
        first = next(self._openings)
        in_turn = [self.partitions[(first + n) % len(self.partitions)] for n in range(len(self.partitions))]
        return next((each for each in in_turn if each.writer.trouble is None), in_turn[0])

    def count(self, answer: object) -> None:
        """Count an answer that is that of an earlier request."""
        self.idempotency_hits += bool(getattr(answer, "replayed", False))


async def _answers(writer: Writer, requests: Sequence[RequestPayment]) -> "Sequence[PaymentAcceptance | LedgerError]":
    """Request the payments of one partition. If it takes none now, that is the answer to each."""
    try:
        return await writer.execute_all(requests)
    except (WriterBusy, WriterStopped) as error:
        return [error] * len(requests)
