"""Sends what a batch writes, inside its transaction.

A large batch is sent in parts, so that the server stores one while the next is being decided. The head is moved once,
behind the last part, and nothing of it can be committed unless that has been seen to be done.
"""

from collections.abc import Collection
from typing import Any

import psycopg

from ledger.books import BatchBooks
from ledger.decisions import QueueEntry
from ledger.keys_and_queue import dequeue, enqueue, enqueue_first, insert_keys
from ledger.log import SQL as LOG
from ledger.log import Appending, Head, row_columns


class Storing:
    """A batch on its way into the store, in a pipeline; `due` says whether it queues something that is due at once."""

    def __init__(self, connection: psycopg.Connection[Any], head: Head, batch: BatchBooks) -> None:
        """Begin after `head`, whose lock the caller holds. Raises StoreWithheld."""
        self.due = False
        self._connection = connection
        self._head = head
        self._batch = batch
        self._appending = Appending(connection, head)

    def send(self) -> None:
        """Send what has been decided since the last time."""
        writes = self._batch.take()
        if writes.rows:
            self._appending.insert(writes.rows)
        if writes.keys_taken:
            insert_keys(self._connection, writes.keys_taken)
        if writes.dequeued:
            dequeue(self._connection, writes.dequeued)
        if entries := writes.enqueued.values():
            self._enqueue(entries)

    def end(self) -> None:
        """Send the head's move, and the snapshots of accounts as the whole batch leaves them."""
        head, batch = self._head, self._batch
        self._appending.move(
            Head(head.position, head.digest, batch.at, batch.next_account_id, batch.next_payment_sequence)
        )
        if snapshots := batch.snapshots:
            self._connection.execute(LOG["insert_snapshots"], row_columns(snapshots), prepare=True)

    def check(self) -> Head:
        """Give the head as the batch leaves it, once the pipeline has ended. Raises LogBroken."""
        return self._appending.check()

    def _enqueue(self, entries: Collection[QueueEntry]) -> None:
        at = self._batch.at
        first: list[QueueEntry] = []
        later: list[QueueEntry] = []
        for entry in entries:
            (first if entry.is_first and entry.due_at == at else later).append(entry)
        if first:
            enqueue_first(self._connection, first, due_at=at)
        if later:
            enqueue(self._connection, later)
        self.due = self.due or bool(first) or any(entry.due_at <= at for entry in later)
