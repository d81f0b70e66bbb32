"""Sends the inserts of a batch, inside its transaction.

A large batch is sent in parts, so that the server stores one part while the writer decides the next. The head is moved
once, after the last part. `check` proves the move, and the writer sends the COMMIT only after that.
"""

from collections.abc import Collection
from typing import Any

import psycopg

from ledger.domain.decision import QueueEntry
from ledger.store.gateway_queue import dequeue, enqueue, enqueue_first
from ledger.store.idempotency_keys import insert_keys
from ledger.store.log import SQL as LOG
from ledger.store.log import Appending, Head, row_columns
from ledger.writer.batch_view import BatchView


class BatchInserts:
    """The inserts of one batch, in a pipeline. `due` says whether the batch enqueues an entry that is due at once."""

    def __init__(self, connection: psycopg.Connection[Any], head: Head, batch: BatchView) -> None:
        """Begin after `head`, whose lock the caller holds. Raises StoreInactive."""
        self.due = False
        self._connection = connection
        self._head = head
        self._batch = batch
        self._appending = Appending(connection, head)

    def send(self) -> None:
        """Send the inserts of the decisions since the last call."""
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
        """Send the move of the head, and the snapshots of accounts after the whole batch."""
        head, batch = self._head, self._batch
        assert not batch.rows, "every event is sent before the head moves"
        self._appending.move(
            Head(head.position, head.digest, batch.at, batch.next_account_id, batch.next_payment_sequence)
        )
        if snapshots := batch.snapshots:
            self._connection.execute(LOG["insert_snapshots"], row_columns(snapshots), prepare=True)

    def check(self) -> Head:
        """Return the head after the batch, once the pipeline has ended. Raises LogBroken."""
        return self._appending.check()

    def _enqueue(self, entries: Collection[QueueEntry]) -> None:
        now = self._batch.now
        first: list[QueueEntry] = []
        later: list[QueueEntry] = []
        for entry in entries:
            # `enqueue_first` does not write series and attempt: it relies on their values for a new request.
            assert not entry.is_first or (entry.series == 1 and entry.attempt == 0), entry
            (first if entry.is_first and entry.due_at == now else later).append(entry)
        if first:
            enqueue_first(self._connection, first, due_at=now)
        if later:
            enqueue(self._connection, later)
        self.due = self.due or bool(first) or any(entry.due_at <= now for entry in later)
