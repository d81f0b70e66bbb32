"""The accounts and payments that a writer caches, as of one position of the log.

The cache is bounded, and the writer brings it up to the log's head before each batch. A batch is decided on a
`BatchView` on top of it, and changes it only after the commit.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Final

from ledger.domain.account import Account
from ledger.domain.events import PaymentEvent, PaymentRequested
from ledger.domain.evolve import PENDING_EVENTS, PENDING_TOPICS, evolve, pending_change
from ledger.domain.identifiers import account_stream
from ledger.domain.payment import Payment
from ledger.store.log import Head
from ledger.store.serialization import SNAPSHOT_TOPIC, decode, decode_snapshot

SNAPSHOT_EVERY: Final = 4
"""An account gets a snapshot when its version passes a multiple of this.

A cache miss reads the account's last snapshot and the events after it, each of which is on a page of its own.
"""


class AggregateCache:
    """At most `capacity` accounts and as many payments. Those changed longest ago are evicted.

    For each cached account `pending_minor` has the sum that its pending deposits would credit. With `expect_payments`,
    payments that other writers have accepted are cached too.
    """

    def __init__(self, *, capacity: int, expect_payments: bool = False) -> None:
        self.accounts: OrderedDict[str, Account] = OrderedDict()
        self.payments: OrderedDict[str, Payment] = OrderedDict()
        self.pending_minor: dict[str, int] = {}
        self.position = 0
        self.digest = b""
        self._capacity = capacity
        self._expect_payments = expect_payments

    def forget(self) -> None:
        """Clear the cache, so that every stream is read again."""
        self.accounts.clear()
        self.payments.clear()
        self.pending_minor.clear()

    def stand_at(self, head: Head) -> None:
        """Set the position and digest that the cache is valid for."""
        self.position, self.digest = head.position, head.digest

    def apply_foreign_events(self, rows: Iterable[tuple[int, str, int, str, bytes]]) -> None:
        """Apply events that other writers have appended (position, stream, version, topic, state).

        A payment with events of others is evicted, because its next commands will probably go to them.
        """
        for _, stream, version, topic, state in rows:
            account = self.accounts.get(stream)
            if account is not None:
                if version > account.version:
                    assert version == account.version + 1, stream
                    self._put(stream, evolve(account, decode(stream, version, topic, state)))
                continue
            requested = topic == PaymentRequested.TOPIC
            if not requested:
                self.payments.pop(stream, None)
            if topic not in PENDING_TOPICS:
                continue
            recorded = decode(stream, version, topic, state)
            assert isinstance(recorded.data, PENDING_EVENTS), recorded
            self._apply_pending_change(recorded.data)
            if requested and self._expect_payments and stream not in self.payments:
                self._put(stream, evolve(None, recorded))

    def _apply_pending_change(self, event: PaymentEvent) -> None:
        account_id, change_minor = pending_change(event)
        stream = account_stream(account_id)
        if change_minor and stream in self.pending_minor:
            self.pending_minor[stream] += change_minor
            assert self.pending_minor[stream] >= 0, (stream, event)

    def load(self, rows: Iterable[tuple[str, int, str, bytes]], pending_minor: dict[int, int]) -> None:
        """Load streams from rows of the store (stream, version, topic, state), whole or from their snapshot on."""
        loaded: dict[str, Account | Payment] = {}
        for stream, version, topic, state in sorted(rows, key=lambda row: (row[0], row[1])):
            if topic == SNAPSHOT_TOPIC:
                loaded[stream] = decode_snapshot(state)
            else:
                loaded[stream] = evolve(loaded.get(stream), decode(stream, version, topic, state))
        for stream, aggregate in loaded.items():
            assert aggregate.id == stream, (stream, aggregate)
            self._put(stream, aggregate)
            if isinstance(aggregate, Account):
                self.pending_minor[stream] = pending_minor.get(aggregate.account_id, 0)
                assert self.pending_minor[stream] >= 0, stream

    def commit(
        self,
        accounts: Mapping[str, Account],
        payments: Mapping[str, Payment],
        pending_minor: Mapping[str, int],
        head: Head,
    ) -> None:
        """Apply the changes of a committed batch, by stream, and evict the aggregates that were changed longest ago."""
        assert head.position >= self.position, (head, self.position)
        for stream, account in accounts.items():
            self._put(stream, account)
        for stream, payment in payments.items():
            self._put(stream, payment)
        self.pending_minor.update(pending_minor)
        self.stand_at(head)
        while len(self.accounts) > self._capacity:
            stream, _ = self.accounts.popitem(last=False)
            del self.pending_minor[stream]
        while len(self.payments) > self._capacity:
            self.payments.popitem(last=False)
        # A cached account without its sum would be taken for one without pending deposits.
        assert len(self.pending_minor) == len(self.accounts), (len(self.pending_minor), len(self.accounts))

    def _put(self, stream: str, aggregate: Account | Payment) -> None:
        if isinstance(aggregate, Account):
            self.accounts[stream] = aggregate
            self.accounts.move_to_end(stream)
        else:
            self.payments[stream] = aggregate
            self.payments.move_to_end(stream)
