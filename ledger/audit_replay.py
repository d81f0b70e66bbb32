"""Replays every account and payment of the log, event by event, and holds each event against what was before it.

Events come in the order of the log, as the writer wrote them: a payment's event and what it does to the account stand
in one batch. What grows in memory is the accounts, about half a kilobyte each, and the payments that are open at one
time; those that have ended are forgotten, and read anew by their streams when the log comes back to them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

import psycopg

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.audit_findings import Findings
from ledger.audit_rules import asked_of_account, wrong_with_account, wrong_with_request, wrong_with_step
from ledger.audit_seals import SealedRow
from ledger.events import (
    AccountEvent,
    AccountOpened,
    AnyEvent,
    PaymentEvent,
    PaymentFailed,
    PaymentRequested,
    Recorded,
)
from ledger.identifiers import SLOTS, account_stream, payment_id, payment_stream, stream_id
from ledger.mapper import decode
from ledger.payment import Payment
from ledger.schedule import Schedule, schedule_after
from ledger.sql import load_statements

SQL: Final = load_statements("ledger", "audit.sql")

Placed = tuple[int, Recorded[AnyEvent]]
"""An event with its position."""


class OpenPayment(NamedTuple):
    """A payment, what the gateway is to be asked about it, if anything, and where its last event stands."""

    payment: Payment
    schedule: Schedule | None
    position: int


class _Owed(NamedTuple):
    """An event that an account has to get because of a payment's, which stands at `position`."""

    position: int
    at: datetime
    account: str
    event: AccountEvent


class Replay:
    """A replay under way. What is wrong goes into the findings, for each stream the first that is.

    `watch` is told of every account as each of its events leaves it, with the event's position.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        findings: Findings,
        *,
        start: int = 1,
        watch: Callable[[int, Account], None] = lambda _position, _account: None,
    ) -> None:
        """Begin at a position; what the streams were before it is read from their events, and trusted."""
        self.accounts: dict[str, Account] = {}
        self.next_account_id = 1
        self.next_payment_sequence = 0
        self.at: datetime | None = None
        self._from_the_first = start <= 1
        self._began_at: datetime | None = None
        self._payments: dict[str, OpenPayment] = {}
        self._ended: set[str] = set()
        self._owed: dict[str, _Owed] = {}
        self._lost: set[str] = set()
        self._connection = connection
        self._findings = findings
        self._watch = watch

    def page(self, rows: Sequence[SealedRow]) -> list[Placed]:
        """Replay the rows of a page, and give those that can be read."""
        self._recall(rows)
        placed = []
        for position, recorded in self._read(rows):
            placed.append((position, recorded))
            if isinstance(recorded.data, AccountEvent):
                self._step_account(position, cast("Recorded[AccountEvent]", recorded), recorded.data)
            else:
                self._step_payment(position, cast("Recorded[PaymentEvent]", recorded), recorded.data)
        self._forget_ended()
        return placed

    def finish(self) -> None:
        """Find what payments still ask for, of their accounts or of the gateway; to be called at the end of a batch."""
        for stream, owed in self._owed.items():
            self._missing(stream, owed)
        for known in self.open_payments.values():
            if known.schedule is None:
                self._findings.add(known.position, f"{known.payment.id} is open, and no event says what is next")

    def is_lost(self, stream: str) -> bool:
        """Tell whether something was wrong with a stream, so that what it has come to is not known."""
        return stream in self._lost

    @property
    def open_payments(self) -> dict[int, OpenPayment]:
        """The payments that have not ended, by id."""
        return {known.payment.payment_id: known for known in self._payments.values() if not known.payment.ended}

    # --- reading ---

    def _read(self, rows: Iterable[SealedRow]) -> Iterator[Placed]:
        for row in rows:
            try:
                recorded = decode(row.originator_id, row.originator_version, row.topic, row.state)
            except Exception as error:  # noqa: BLE001 - whatever reading or an upcast raises, this event cannot be read
                self._wrong(row.position, row.originator_id, f"the event cannot be read: {error}")
                continue
            if recorded.at.tzinfo is None:
                self._wrong(row.position, row.originator_id, "the event's time has no offset")
                continue
            if self.at is not None and recorded.at < self.at:
                self._findings.add(row.position, f"the event is of {recorded.at}, earlier than the one before it")
            self.at = recorded.at
            if self._began_at is None:
                self._began_at = recorded.at
            yield row.position, recorded

    def _recall(self, rows: Iterable[SealedRow]) -> None:
        """Bring back what streams were before the page whose beginning is not in memory."""
        firsts: dict[str, int] = {}
        for row in rows:
            firsts.setdefault(row.originator_id, row.originator_version)
        wanted = {stream: version for stream, version in firsts.items() if version > 1 and not self._knows(stream)}
        if not wanted:
            return
        parameters = {"streams": list(wanted), "versions": list(wanted.values())}
        starts = self._connection.execute(SQL["read_stream_starts"], parameters, prepare=True, binary=True)
        for stream, version, position, topic, state in sorted(starts, key=lambda start: start[:2]):
            self._relearn(position, stream, version, topic, state)

    def _knows(self, stream: str) -> bool:
        return stream in self._payments or stream in self.accounts or stream in self._lost

    def _relearn(self, position: int, stream: str, version: int, topic: str, state: bytes) -> None:
        """Take in an event that was checked before, or lies before the audit's start."""
        known = self.accounts.get(stream) or self._payments.get(stream, _NONE).payment
        if version != (0 if known is None else known.version) + 1:
            return  # the gap is found when the page comes to the stream
        with suppress(Exception):  # what cannot be read here leaves a gap too
            recorded = decode(stream, version, topic, state)
            if isinstance(recorded.data, AccountEvent):
                account = cast("Account | None", known)
                self.accounts[stream] = ledger.account.evolve(account, cast("Recorded[AccountEvent]", recorded))
            else:
                self._take_in(position, cast("Recorded[PaymentEvent]", recorded))

    # --- accounts ---

    def _step_account(self, position: int, recorded: Recorded[AccountEvent], event: AccountEvent) -> None:
        stream = recorded.originator_id
        known = self.accounts.get(stream)
        if stream in self._lost or self._out_of_place(position, recorded, known, AccountOpened):
            return
        if isinstance(event, AccountOpened):
            self._count_account(position, stream)
        after = ledger.account.evolve(known, recorded)
        if (wrong := wrong_with_account(after)) is not None:
            self._wrong(position, stream, wrong)
            return
        if not isinstance(event, AccountOpened):
            self._pay_back(position, recorded, event.payment_id)
        self.accounts[stream] = after
        self._watch(position, after)

    def _count_account(self, position: int, stream: str) -> None:
        if self._from_the_first and stream != account_stream(self.next_account_id):
            self._findings.add(position, f"{stream} is opened where {account_stream(self.next_account_id)} is the next")
        self.next_account_id = stream_id(stream) + 1

    def _pay_back(self, position: int, recorded: Recorded[AccountEvent], of_payment: int) -> None:
        """Hold what happens to an account because of a payment against what the payment asks for."""
        stream = payment_stream(of_payment)
        owed = self._owed.pop(stream, None)
        if stream in self._lost:
            return
        if owed is None:
            if not self._began_within_batch(recorded):
                self._findings.add(position, f"no event of {stream} asks for this")
        elif (owed.account, owed.event, owed.at) != (recorded.originator_id, recorded.data, recorded.at):
            self._findings.add(position, f"this is not what {stream} asks for at position {owed.position}")

    # --- payments ---

    def _step_payment(self, position: int, recorded: Recorded[PaymentEvent], event: PaymentEvent) -> None:
        stream = recorded.originator_id
        before = self._payments.get(stream, _NONE).payment
        if stream in self._lost or self._out_of_place(position, recorded, before, PaymentRequested):
            return
        wrong = wrong_with_request(event) if isinstance(event, PaymentRequested) else None
        if before is not None:
            wrong = wrong_with_step(before, event)
        if wrong is not None:
            self._wrong(position, stream, wrong)
            return
        if isinstance(event, PaymentRequested):
            self._count_payment(position, event)
        self._close_owed(position, recorded, event)
        after = self._take_in(position, recorded)
        asked, account = asked_of_account(before, after, event), account_stream(after.account_id)
        if asked is not None and account not in self._lost:
            self._owed[stream] = _Owed(position, recorded.at, account, asked)

    def _count_payment(self, position: int, event: PaymentRequested) -> None:
        expected = payment_id(self.next_payment_sequence, event.account_id)
        if self._from_the_first and event.payment_id != expected:
            self._findings.add(position, f"payment {event.payment_id} is requested where {expected} is the next")
        self.next_payment_sequence = (event.payment_id - 1) // SLOTS + 1
        stream = account_stream(event.account_id)
        account = self.accounts.get(stream)
        currency = None if account is None else account.currency
        if self._from_the_first and stream not in self._lost and currency != event.currency:
            self._findings.add(position, f"there is no account {event.account_id} in {event.currency}")

    def _close_owed(self, position: int, recorded: Recorded[PaymentEvent], event: PaymentEvent) -> None:
        """Find what the payment's event before has asked for in vain; a refusal takes the place of a hold."""
        stream = recorded.originator_id
        owed = self._owed.pop(stream, None)
        if isinstance(event, PaymentFailed) and event.ended_by == "request":
            if owed is None and not self._began_within_batch(recorded):
                self._findings.add(position, f"{stream} is refused for want of money after it had it")
        elif owed is not None:
            self._missing(stream, owed)

    def _take_in(self, position: int, recorded: Recorded[PaymentEvent]) -> Payment:
        before = self._payments.get(recorded.originator_id, _NONE)
        after = ledger.payment.evolve(before.payment, recorded)
        schedule = schedule_after(before.schedule, recorded)
        self._payments[recorded.originator_id] = OpenPayment(after, schedule, position)
        if after.ended:
            self._ended.add(recorded.originator_id)
        return after

    def _forget_ended(self) -> None:
        # Not sooner: the page may still have events of theirs, and it was looked through for what to recall before.
        for stream in self._ended:
            known = self._payments.get(stream)
            if known is not None and known.payment.ended:
                del self._payments[stream]
        self._ended.clear()

    def _began_within_batch(self, recorded: Recorded[Any]) -> bool:
        """Tell whether what asks for an event may stand before the audit's start, in the same batch."""
        return not self._from_the_first and recorded.at == self._began_at

    # --- findings ---

    def _out_of_place(
        self,
        position: int,
        recorded: Recorded[Any],
        known: Account | Payment | None,
        first: type[AccountOpened | PaymentRequested],
    ) -> bool:
        """Find an event that stands in another stream than its own, or at another place of it."""
        stream, version = recorded.originator_id, recorded.originator_version
        before = 0 if known is None else known.version
        wrong = None
        if stream != _home(recorded):
            wrong = f"{recorded.data.TOPIC} stands in the stream {stream!r}"
        elif version != before + 1:
            wrong = f"version {version} of {stream} follows version {before}"
        elif isinstance(recorded.data, first) != (known is None):
            wrong = f"{recorded.data.TOPIC} is version {version} of {stream}"
        if wrong is not None:
            self._wrong(position, stream, wrong)
        return wrong is not None

    def _missing(self, stream: str, owed: _Owed) -> None:
        if owed.account not in self._lost and stream not in self._lost:
            self._findings.add(
                owed.position, f"{owed.event.TOPIC} of {owed.account}, asked for by {stream}, is missing"
            )

    def _wrong(self, position: int, stream: str, what: str) -> None:
        """Note what is wrong with an event, and look no more at its stream: all that follows could be wrong by it."""
        self._findings.add(position, what)
        self._lost.add(stream)
        self.accounts.pop(stream, None)
        self._payments.pop(stream, None)


class _Nothing(NamedTuple):
    """What is known of a payment that is not in memory."""

    payment: None = None
    schedule: None = None


_NONE: Final = _Nothing()


def _home(recorded: Recorded[Any]) -> str | None:
    """The stream in which an event belongs, by what it is about."""
    if not isinstance(recorded.data, AccountEvent):
        return payment_stream(recorded.data.payment_id)
    try:
        return account_stream(stream_id(recorded.originator_id))
    except ValueError:
        return None
