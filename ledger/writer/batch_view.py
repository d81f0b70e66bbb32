"""The ledger as one batch sees it, and the rows that the batch will write.

A `BatchView` reads through to the `AggregateCache` while a batch is decided, so that each command sees the commands
before it. Its changes go into the cache after the commit, and are discarded without one.
"""

from datetime import datetime
from typing import cast

from msgspec import Struct

from ledger.command_ids import new_key_salt
from ledger.domain.account import Account
from ledger.domain.commands import AnyCommand
from ledger.domain.decision import Decision, IdempotencyRecord, QueueEntry
from ledger.domain.events import AccountOpened, AnyEvent, PaymentEvent, PaymentRequested, Recorded
from ledger.domain.evolve import evolve, pending_change, waiting_change
from ledger.domain.identifiers import ALL_SLOTS, Slots, account_stream, payment_stream
from ledger.domain.payment import Payment
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.store.log import Head, Row
from ledger.store.serialization import SNAPSHOT_TOPIC, encode, encode_snapshot
from ledger.writer.aggregate_cache import SNAPSHOT_EVERY, AggregateCache


class Writes(Struct, frozen=True):
    """The rows that decisions write: events, idempotency keys, and changes to the gateway queue."""

    rows: list[Row]
    keys_taken: list[IdempotencyRecord]
    enqueued: dict[int, QueueEntry]
    dequeued: set[int]


class BatchView:
    """The `LedgerView` of a batch's decisions, with the changes of those before, and the rows that they will write.

    `now` is the database's clock. `waiting` has the number of payments that have not ended, for each account about
    which a command has a limit. A batch may be written in parts: `take` returns rows once.
    """

    def __init__(
        self,
        cache: AggregateCache,
        head: Head,
        *,
        now: datetime,
        keys: dict[tuple[str, str], IdempotencyRecord],
        key_salt: str | None = None,
        slots: Slots = ALL_SLOTS,
        waiting: dict[int, int] | None = None,
    ) -> None:
        self.now = now
        self.at = max(now, head.at)
        self.key_salt = new_key_salt() if key_salt is None else key_salt
        self._slots = slots
        self.next_account_id = head.next_account_id
        self.next_payment_sequence = head.next_payment_sequence
        self.accounts: dict[str, Account] = {}
        self.payments: dict[str, Payment] = {}
        self.pending: dict[str, int] = {}
        self.rows: list[Row] = []
        self.keys_taken: list[IdempotencyRecord] = []
        self.enqueued: dict[int, QueueEntry] = {}
        self.dequeued: set[int] = set()
        self._snapshots_due: set[str] = set()
        self._waiting = waiting or {}
        self._keys = keys
        self._cache = cache

    # --- the view ---

    def account(self, account_id: int) -> Account:
        """Return an account. Raises AccountNotFound."""
        stream = account_stream(account_id)
        account = self.accounts.get(stream) or self._cache.accounts.get(stream)
        if account is None:
            raise AccountNotFound(account_id=account_id)
        return account

    def payment(self, payment_id: int) -> Payment:
        """Return a payment. Raises PaymentNotFound."""
        stream = payment_stream(payment_id)
        payment = self.payments.get(stream) or self._cache.payments.get(stream)
        if payment is None:
            raise PaymentNotFound(payment_id=payment_id)
        return payment

    def pending_minor(self, account_id: int) -> int:
        """Return the sum that an account's pending deposits would credit."""
        stream = account_stream(account_id)
        if stream in self.pending:
            return self.pending[stream]
        pending_minor = self._cache.pending_minor.get(stream)
        assert pending_minor is not None or stream not in self._cache.accounts, f"the sum for {stream} is missing"
        return pending_minor or 0

    def waiting(self, account_id: int) -> int:
        """Count the payments of an account that have not ended; a command with a limit names the account."""
        return self._waiting[account_id]

    def key_taken(self, scope: str, key: str) -> IdempotencyRecord | None:
        """Return the record of an idempotency key, or None if it is free."""
        return self._keys.get((scope, key))

    # --- applying ---

    def apply(self, command: AnyCommand, decision: Decision) -> None:
        """Apply a decision, so that the commands after it see it."""
        assert decision.enqueue is None or decision.dequeue is None, decision
        versions: dict[str, int] = {}
        for planned in decision.planned:
            stream, event = planned.stream, planned.event
            known = self.accounts.get(stream) or self.payments.get(stream)
            known = known or self._cache.accounts.get(stream) or self._cache.payments.get(stream)
            follows = planned.follows
            recorded = Recorded(
                originator_id=stream,
                originator_version=1 if known is None else known.version + 1,
                at=self.at,
                command_id=command.command_id,
                cause=type(command).__name__ if follows is None else f"{follows}/{versions[follows]}",
                by=command.by,
                operator=command.operator,
                approved_by=command.approved_by,
                data=event,
            )
            versions[stream] = recorded.originator_version
            self.rows.append(Row(stream, recorded.originator_version, event.TOPIC, encode(recorded)))
            self._update(stream, evolve(known, recorded), event)
        if decision.key is not None:
            idempotency = decision.key.idempotency
            assert (idempotency.scope, idempotency.key) not in self._keys, idempotency
            self.keys_taken.append(decision.key)
            self._keys[idempotency.scope, idempotency.key] = decision.key
        if decision.dequeue is not None:
            self.enqueued.pop(decision.dequeue, None)
            self.dequeued.add(decision.dequeue)
        if decision.enqueue is not None:
            self.dequeued.discard(decision.enqueue.payment_id)
            self.enqueued[decision.enqueue.payment_id] = decision.enqueue

    def _update(self, stream: str, aggregate: Account | Payment, event: AnyEvent) -> None:
        if isinstance(aggregate, Account):
            self.accounts[stream] = aggregate
            if aggregate.version % SNAPSHOT_EVERY == 0:
                self._snapshots_due.add(stream)
            if isinstance(event, AccountOpened):
                assert aggregate.account_id == self.next_account_id, (stream, self.next_account_id)
                self.next_account_id = self._slots.account_id_after(self.next_account_id)
                self.pending[stream] = 0
            return
        self.payments[stream] = aggregate
        if isinstance(event, PaymentRequested):
            self.next_payment_sequence += 1
        if aggregate.account_id in self._waiting:
            self._waiting[aggregate.account_id] += waiting_change(cast("PaymentEvent", event))
        account_id, change_minor = pending_change(cast("PaymentEvent", event))
        if change_minor:
            pending_minor = self.pending_minor(account_id) + change_minor
            assert pending_minor >= 0, (event, pending_minor)
            self.pending[account_stream(account_id)] = pending_minor

    def commit_to(self, cache: AggregateCache, head: Head) -> None:
        """Apply the changes of the batch to the cache, after it was committed with this head."""
        cache.commit(self.accounts, self.payments, self.pending, head)

    def take(self) -> Writes:
        """Return the rows of the decisions since the last call. Parts must be written in order."""
        assert not self.dequeued & self.enqueued.keys(), "an entry is written or removed, not both"
        writes = Writes(self.rows, self.keys_taken, self.enqueued, self.dequeued)
        self.rows, self.keys_taken, self.enqueued, self.dequeued = [], [], {}, set()
        return writes

    @property
    def snapshots(self) -> list[Row]:
        """The snapshots to store: one for each account that passed a multiple of SNAPSHOT_EVERY, after the batch."""
        accounts = [self.accounts[stream] for stream in sorted(self._snapshots_due)]
        return [Row(account.id, account.version, SNAPSHOT_TOPIC, encode_snapshot(account)) for account in accounts]
