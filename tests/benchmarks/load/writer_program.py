"""The writer in a process of its own, without HTTP: deposits and withdrawals in turn, each with an idempotency key.

The commands are built before the measured time. Several slices of a batch's size are always queued, so that the writer
can always fill a batch. The arguments are: the database's URL, the run's name, accounts, a batch's size, and the
seconds of warm-up and of measuring. The program prints `ready`, waits for a line, prints `measuring` and `measured`,
and then its result.
"""

import asyncio
import random
import sys
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

import msgspec
import uvloop

from api.runtime.gc_tuning import relax_gc
from ledger.domain.commands import PaymentAcceptance, RequestDeposit, RequestWithdrawal
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.benchmarks.measuring.measures import Load, percentile

SLICES: Final = 4
"""How many slices are queued at a time: while one is written, the others are ready."""

COMMANDS_A_SECOND_MAX: Final = 40_000
"""How many commands are built for each second, which is more than any writer processes."""

_FEE_RATE_PPM: Final = 20_000

Wish = RequestDeposit | RequestWithdrawal


def main() -> None:
    """Write for the seconds given as arguments."""
    url, run, accounts, batch, warm_up_seconds, seconds = sys.argv[1:]
    writing = _Writing(
        Database(url),
        run=run,
        accounts=int(accounts),
        batch=int(batch),
        seconds=(float(warm_up_seconds), float(seconds)),
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(writing.run())
    _say(msgspec.json.encode(load).decode())


class _Writing:
    """One run: its commands and their results."""

    def __init__(
        self, database: Database, *, run: str, accounts: int, batch: int, seconds: tuple[float, float]
    ) -> None:
        self._writer = Writer(database, batch_max=batch)
        self._batch = batch
        self._warm_up_seconds, self._seconds = seconds
        wishes = _wishes(run, accounts, count=int(sum(seconds) * COMMANDS_A_SECOND_MAX))
        self._slices = iter([wishes[at : at + batch] for at in range(0, len(wishes), batch)])
        self._accepted = 0
        self._latencies: list[float] = []
        self._ending = False

    async def run(self) -> Load:
        self._writer.start()
        relax_gc()  # as every part of the service does once it has started
        _say("ready")
        await asyncio.to_thread(sys.stdin.readline)
        feeding = [asyncio.create_task(self._feed()) for _ in range(SLICES)]
        await asyncio.sleep(self._warm_up_seconds)
        _say("measuring")
        self._latencies.clear()
        before, began, cpu = self._accepted, time.monotonic(), time.process_time()
        await asyncio.sleep(self._seconds)
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - cpu
        written, latencies = self._accepted - before, list(self._latencies)
        _say("measured")
        self._ending = True
        await asyncio.gather(*feeding)
        await asyncio.to_thread(self._writer.stop)
        return Load(
            program="the writer's own process",
            requests=written,
            failures=0,
            seconds=seconds,
            cpu_seconds=cpu_seconds,
            latency_ms_p50=percentile(latencies, 0.5),
            latency_ms_p99=percentile(latencies, 0.99),
            latency_ms_max=max(latencies, default=0.0),
            payments=self._accepted,
        )

    async def _feed(self) -> None:
        for wishes in self._slices:
            began = time.monotonic()
            answers = await self._writer.execute_all(wishes)
            assert all(isinstance(answer, PaymentAcceptance) and not answer.refused for answer in answers), answers
            self._accepted += len(answers)
            self._latencies.append(1000 * (time.monotonic() - began))
            if self._ending:
                return
        raise RuntimeError("the commands that were made beforehand did not suffice")


def _wishes(run: str, accounts: int, *, count: int) -> list[Wish]:
    dice = random.Random(run)
    amounts = [Decimal(cents).scaleb(-2) for cents in range(100, 1000)]
    return list(_made(run, accounts, count, dice, amounts))


def _made(run: str, accounts: int, count: int, dice: random.Random, amounts: list[Decimal]) -> Iterator[Wish]:
    for number in range(count):
        wish = RequestDeposit if number % 2 == 0 else RequestWithdrawal
        yield wish(
            command_id=f"{number:032x}",
            account_id=dice.randint(1, accounts),
            amount=dice.choice(amounts),
            fee_rate_ppm=_FEE_RATE_PPM,
            idempotency_key=f"{run}-{number}",
        )


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
