"""What handlers work with: the writer, the readers and the settings of one running application.

They are made with the application and live as long as it is served. A handler reaches them through its request.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final, TypeVar

from api.account_reads import AccountReads
from api.bodies import BODY_SECONDS_MAX
from api.mock_gateway_client import MockGatewayClient
from api.payment_reads import PaymentReads
from api.pulse import Pulse
from api.reads import Reads
from api.time_limit import TimeLimit
from ledger.commands import Command
from ledger.database import Database
from ledger.errors import LedgerError
from ledger.settings import Settings
from ledger.writer import Writer

VERIFICATIONS_MAX: Final = 2
"""How many verifications of the log one process runs at once; further ones wait."""

AnswerT = TypeVar("AnswerT")


class Parts:
    """The parts of one application.

    Bodies are read within `body_time`; `verifying` is held while the log is verified; `idempotency_hits` counts the
    requests that were answered again.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        """Put the parts together; nothing runs before `running`."""
        self.settings = settings
        self.database = database
        self.writer = Writer(database, batch_max=settings.writer_batch_max, queue_max=settings.writer_queue_max)
        self.reads = Reads(database)
        self.payments = PaymentReads(self.reads)
        self.accounts = AccountReads(self.reads)
        self.pulse = Pulse(self.reads)
        self.mock_gateway = MockGatewayClient(settings.demo_gateway_url)
        self.body_time = TimeLimit(BODY_SECONDS_MAX)
        self.verifying = asyncio.Semaphore(VERIFICATIONS_MAX)
        self.idempotency_hits = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the parts; at the end, write what is waiting and answer everybody."""
        async with AsyncExitStack() as stack:
            await self.reads.open()
            stack.push_async_callback(self.reads.close)
            stack.push_async_callback(self.payments.close)
            stack.push_async_callback(self.accounts.close)
            stack.push_async_callback(self.pulse.close)
            stack.push_async_callback(self.mock_gateway.close)
            self.writer.start()
            stack.push_async_callback(asyncio.to_thread, self.writer.stop)
            yield

    async def execute(self, command: Command[AnswerT]) -> AnswerT:
        """Carry out a command. Raises what the writer raises."""
        answer = await self.writer.execute(command)
        self._count(answer)
        return answer

    async def execute_all(self, commands: Sequence[Command[AnswerT]]) -> "list[AnswerT | LedgerError]":
        """Carry out several commands, in order; refusals stand among the answers. Raises what the writer raises."""
        answers = await self.writer.execute_all(commands)
        for answer in answers:
            self._count(answer)
        return answers

    def _count(self, answer: object) -> None:
        self.idempotency_hits += bool(getattr(answer, "replayed", False))
