"""The parts of the ledger for a command that decides and may ask the gateway, and the sender of its decisions."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from api.cli.command import EXIT_UNHEALTHY, fail
from api.cli.ledger_access import ledger_for
from api.cli.letters.decision_options import signed
from api.decisions.gateway_questions import GatewayQuestions
from api.decisions.parts import DecidingParts
from api.queries.history import HistoryQueries
from api.queries.pool import ReadPool
from api.settings import Settings
from ledger.partition.partition import Partition, Partitions
from ledger.recovery.noted_head import NotedHeads
from ledger.store.database import Database
from ledger.writer.writer import Writer

ResultT = TypeVar("ResultT")


def with_parts(
    function: Callable[[DecidingParts, dict[str, str | None]], Awaitable[ResultT]],
    *,
    of: Callable[[Partitions], Partition],
    by: str,
    key_file: Path | None,
) -> ResultT:
    """Call a function with the parts of a partition, and with the sender of its commands as they are recorded.

    `of` chooses the partition. With a key, that is the sender, and `by` stands beside it. Raises Unauthenticated,
    ScopeMissing, KeyBoundElsewhere.
    """
    with ledger_for("dlq") as (settings, partitions):
        if settings.operate_four_eyes:
            the_only(partitions)
        keys = partitions.first.database
        return asyncio.run(_run(settings, of(partitions), keys, function, by, key_file))


def the_only(partitions: Partitions) -> Partition:
    """Return the only partition of a ledger, for a decision that needs a second key.

    Such a request stands with its payment, and compares keys in the same store; with several partitions only the first
    one has the keys. So the program ends there with a sentence instead of taking a live key for one that has ended.
    """
    if len(partitions) > 1:
        fail(
            "Decisions with a second key (OPERATE_FOUR_EYES) are not possible yet in a ledger with several partitions.",
            EXIT_UNHEALTHY,
        )
    return partitions.only


async def _run(
    settings: Settings,
    partition: Partition,
    keys: Database,
    function: Callable[[DecidingParts, dict[str, str | None]], Awaitable[ResultT]],
    by: str,
    key_file: Path | None,
) -> ResultT:
    sender = await signed(keys, by=by, key_file=key_file)
    writer = Writer(partition.database, slots=partition.slots, noted_heads=NotedHeads(settings.noted_heads_folder))
    pool, history = ReadPool(partition.database), HistoryQueries(partition.database)
    questions = GatewayQuestions(settings, pool)
    parts = DecidingParts(
        settings=settings, partition=partition, writer=writer, pool=pool, history=history, questions=questions
    )
    await pool.open()
    writer.start()
    try:
        return await function(parts, sender)
    finally:
        await questions.close()
        await asyncio.to_thread(writer.stop)
        await history.close()
        await pool.close()
