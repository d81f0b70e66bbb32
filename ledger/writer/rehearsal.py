"""Decides commands without writing anything, to tell their effect now.

The rules are those of the writer, on the streams as one snapshot of the database shows them, so the result is what the
writer would do if nothing else came in between. Each command sees what the commands before it would have changed.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final, TypeVar

import psycopg
from msgspec import Struct

from ledger.domain.commands import AnyCommand, OperatorDecision
from ledger.domain.decide import decide
from ledger.domain.decision import Decision
from ledger.domain.identifiers import ALL_SLOTS, Slots
from ledger.domain.payment import Payment
from ledger.errors import LogBroken, Refusal
from ledger.sessions.answer_limit import answer_within
from ledger.store.database import BY_INDEX, Database
from ledger.store.idempotency_keys import ask_keys, keys_taken
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, clock_of
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from ledger.writer.cache_loading import SQL, CacheLoader, streams_of

STREAMS_AT_ONCE: Final = 1_000
ANSWER_SECONDS_MAX: Final = 20.0
"""How long the server may take for all reads of a rehearsal."""

ItemT = TypeVar("ItemT")


class Rehearsed(Struct, frozen=True):
    """The effect of a decision: the payment before it, None if there is none, and the decision or its refusal."""

    payment: Payment | None
    result: Decision | Refusal


def rehearse(database: Database, commands: Sequence[OperatorDecision], *, slots: Slots = ALL_SLOTS) -> list[Rehearsed]:
    """Decide commands in order on one snapshot of the database. Raises psycopg.Error, and LogBroken without a head."""
    connecting = database.connect(application="payment-ledger rehearsal", options=BY_INDEX)
    with closing(connecting) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        connection.execute(SQL["begin_reading"])
        view = _view(connection, commands, slots)
        connection.rollback()
    return [_rehearsed(command, view) for command in commands]


def _view(connection: psycopg.Connection[Any], commands: Sequence[Any], slots: Slots) -> BatchView:
    row = connection.execute(LOG["read_head"], binary=True).fetchone()
    if row is None:
        raise LogBroken(position=0, what="the head is missing")
    asked = {key for command in commands if (key := command.key) is not None}
    taken = keys_taken(ask_keys(connection, asked)) if asked else {}
    named = streams_of(commands, taken.values())
    cache = AggregateCache(capacity=2 * len(named) + 1)
    loader = CacheLoader(cache)
    for streams in _parts(sorted(named)):
        loader.find(connection, set(streams))
        loader.find_accounts_of(connection, set(streams))
    return BatchView(cache, Head(*row), now=clock_of(connection), keys=taken, slots=slots)


def _parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    for first in range(0, len(items), STREAMS_AT_ONCE):
        yield items[first : first + STREAMS_AT_ONCE]


def _rehearsed(command: Any, view: BatchView) -> Rehearsed:  # noqa: ANN401 - one of `AnyCommand`
    known: AnyCommand = command
    before = None
    try:
        before = view.payment(command.payment_id)
        decision = decide(known, view)
    except Refusal as refusal:
        return Rehearsed(before, refusal)
    view.apply(known, decision)
    return Rehearsed(before, decision)
