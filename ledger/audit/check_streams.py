"""Replays every account and payment of the log and checks each event: alone, and against the state before it.

The rules are in `check_events` and in `ledger.domain.invariants`.

Events are replayed in the order of the log. A payment's event and the account's event that follows from it are in the
same batch. The replay keeps in memory all accounts, about half a kilobyte each, and all payments that are open at one
time. It drops a payment that has ended, and reads its stream again when a later event of that payment follows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, cast, get_args

import psycopg

from ledger.audit.check_events import wrong_with_event
from ledger.audit.check_hash_chain import SealedRow
from ledger.audit.check_operation import OperationCheck
from ledger.audit.findings import Findings
from ledger.audit.places import QueuedPayment, expected_stream, is_of
from ledger.domain.account import Account
from ledger.domain.events import (
    AccountEvent,
    AccountOpened,
    AnyEvent,
    GatewayChanged,
    LedgerRecovered,
    PaymentEvent,
    PaymentFailed,
    PaymentRequested,
    Recorded,
)
from ledger.domain.evolve import evolve_account, evolve_payment
from ledger.domain.gateway_schedule import schedule_after
from ledger.domain.identifiers import (
    LEDGER_STREAM,
    OPERATION_STREAM,
    SLOTS,
    account_stream,
    payment_id,
    payment_stream,
    stream_id,
)
from ledger.domain.invariants import (
    FOLLOWERS,
    LEADS,
    Lead,
    asked_of_account,
    following,
    wrong_with_account,
    wrong_with_follower,
    wrong_with_step,
)
from ledger.domain.payment import Payment
from ledger.store.log import clock_of
from ledger.store.migrate import read_identity
from ledger.store.serialization import decode, is_canonical
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "verify.sql")

CLOCK_AHEAD_MAX: Final = timedelta(days=1)
"""How far the clock that gave an event its time may have been ahead of the database's clock now."""

_ACCOUNT_EVENTS: Final = frozenset(get_args(AccountEvent))

Placed = tuple[int, Recorded[AnyEvent]]
"""An event with its position."""

_OF_THE_WHOLE: Final = frozenset({LEDGER_STREAM, OPERATION_STREAM})  # about no account and no payment


class _Required(NamedTuple):
    """The account's event that a payment's event requires, and what events of one decision share."""

    position: int
    account: str
    event: AccountEvent
    decision: tuple[datetime, str, tuple[str | None, str | None, str | None], str]


class Replay:
    """A replay in progress. It adds the first error of each stream to the findings.

    It calls `watch` after each event of an account, with the event's position and the account after the event.
    """

    def __init__(
        self,
        connection: psycopg.Connection[Any],
        findings: Findings,
        *,
        start: int = 1,
        watch: Callable[[int, Account], None] = lambda _position, _account: None,
    ) -> None:
        """Begin at a position. Earlier events of a stream are read when the stream is needed, and trusted."""
        self.accounts: dict[str, Account] = {}
        self._slots = read_identity(connection).slots
        self.next_account_id = self._slots.first_account_id
        self.next_payment_sequence = 0
        self.at: datetime | None = None
        self._recoveries = 0
        self._from_the_first = start <= 1
        self.operation = OperationCheck(findings, from_the_first=self._from_the_first)
        self._began_at: datetime | None = None
        self._payments: dict[str, QueuedPayment] = {}
        self._ended: set[str] = set()
        self._required: dict[str, _Required] = {}
        self._leads: dict[str, Lead] = {}
        self._latest = datetime.min.replace(tzinfo=UTC)
        self._lost: set[str] = set()
        self._connection = connection
        self._findings = findings
        self._watch = watch

    def page(self, rows: Sequence[SealedRow]) -> list[Placed]:
        """Replay the rows of a page, and return the events that can be decoded."""
        self._restore_streams(rows)
        placed = []
        for position, recorded in self._read(rows):
            placed.append((position, recorded))
            if type(recorded.data) in _ACCOUNT_EVENTS:
                self._step_account(position, cast("Recorded[AccountEvent]", recorded))
            elif isinstance(recorded.data, LedgerRecovered):
                self._step_ledger(position, recorded, recorded.data)
            elif isinstance(recorded.data, GatewayChanged):
                self.operation.step(position, recorded, recorded.data)
            else:
                self._step_payment(position, cast("Recorded[PaymentEvent]", recorded))
        self._forget_ended()
        return placed

    def finish(self) -> None:
        """Report events that had to follow and never came, and open payments without a scheduled call.

        Call it at the end of a batch.
        """
        for stream, required in self._required.items():
            self._report_missing(stream, required)
        for stream, lead in self._leads.items():
            if stream not in self._lost:
                what = f"{lead.recorded.data.TOPIC} must bring about the {lead.kind} of {stream}, which is missing"
                self._findings.add(lead.position, what)
        for known in self.queued_payments.values():
            if known.schedule is None:
                self._findings.add(known.position, f"{known.payment.id} is open, but no event schedules its next call")

    def is_lost(self, stream: str) -> bool:
        """Tell whether a stream had an error, so that its present state is not known."""
        return stream in self._lost

    @property
    def queued_payments(self) -> dict[int, QueuedPayment]:
        """The payments that belong into the gateway queue, by id: open ones, and those that are asked about late."""
        return {known.payment.payment_id: known for known in self._payments.values() if known.is_queued}

    # --- reading ---

    def _read(self, rows: Iterable[SealedRow]) -> Iterator[Placed]:
        for row in rows:
            try:
                recorded = decode(row.originator_id, row.originator_version, row.topic, row.state)
            except Exception as error:  # noqa: BLE001 - any error of decoding or an upcast: the event cannot be read
                self._wrong(row.position, row.originator_id, f"the event cannot be read: {error}")
                continue
            if (wrong := self._wrong_with_row(recorded, row)) is not None:
                self._wrong(row.position, row.originator_id, wrong)
                continue
            if self.at is not None and recorded.at < self.at:
                self._findings.add(row.position, f"the event's time {recorded.at} is before the previous event's")
            self.at = recorded.at
            if self._began_at is None:
                self._began_at = recorded.at
            yield row.position, recorded

    def _wrong_with_row(self, recorded: Recorded[Any], row: SealedRow) -> str | None:
        """Describe the fault of an event by itself, or return None."""
        if recorded.at.tzinfo is not UTC:
            return "the event's time has no offset" if recorded.at.tzinfo is None else "the event's time is not in UTC"
        if recorded.at > self._latest:
            self._latest = clock_of(self._connection) + CLOCK_AHEAD_MAX
        wrong = wrong_with_event(recorded, latest=self._latest)
        if wrong is None and not is_canonical(recorded, row.topic, row.state):
            return "its bytes are not those that the ledger writes for this event"
        return wrong

    def _restore_streams(self, rows: Iterable[SealedRow]) -> None:
        """Read the earlier events of the page's streams that are not in memory."""
        firsts: dict[str, int] = {}
        for row in rows:
            firsts.setdefault(row.originator_id, row.originator_version)
        wanted = {stream: version for stream, version in firsts.items() if version > 1 and not self._knows(stream)}
        if not wanted:
            return
        parameters = {"streams": list(wanted), "versions": list(wanted.values())}
        starts = self._connection.execute(SQL["read_stream_starts"], parameters, prepare=True, binary=True)
        for stream, version, position, topic, state in sorted(starts, key=lambda start: start[:2]):
            self._restore(position, stream, version, topic, state)

    def _knows(self, stream: str) -> bool:
        return stream in self._payments or stream in self.accounts or stream in self._lost or stream in _OF_THE_WHOLE

    def _restore(self, position: int, stream: str, version: int, topic: str, state: bytes) -> None:
        """Apply, without checks, an event that was checked earlier or is before the audit's start."""
        known = self.accounts.get(stream) or self._payments.get(stream, _NONE).payment
        if version != (0 if known is None else known.version) + 1:
            return  # the replay of the page reports this gap
        with suppress(Exception):  # an event that cannot be decoded leaves a gap too
            recorded = decode(stream, version, topic, state)
            if isinstance(recorded.data, AccountEvent):
                account = cast("Account | None", known)
                self.accounts[stream] = evolve_account(account, cast("Recorded[AccountEvent]", recorded))
            else:
                self._leads.pop(stream, None)
                self._apply_payment(position, cast("Recorded[PaymentEvent]", recorded))

    # --- the ledger ---

    def _step_ledger(self, position: int, recorded: Recorded[Any], event: LedgerRecovered) -> None:
        """Take in a recovery: it leaves a gap in the numbers, and never gives one a second time."""
        stream, version = recorded.originator_id, recorded.originator_version
        if stream != LEDGER_STREAM:
            self._wrong(position, stream, f"{event.TOPIC} is in the stream {stream!r}")
        elif self._from_the_first and version != self._recoveries + 1:
            self._findings.add(position, f"version {version} of {stream} follows version {self._recoveries}")
        counted = self.next_account_id, self.next_payment_sequence
        if event.next_account_id < counted[0] or event.next_payment_sequence < counted[1]:
            self._findings.add(position, f"{event.TOPIC} would give numbers a second time")
        self._recoveries = version
        self.next_account_id, self.next_payment_sequence = event.next_account_id, event.next_payment_sequence

    # --- accounts ---

    def _step_account(self, position: int, recorded: Recorded[AccountEvent]) -> None:
        stream, event = recorded.originator_id, recorded.data
        known = self.accounts.get(stream)
        if stream in self._lost or self._out_of_place(position, recorded, known, AccountOpened):
            return
        if isinstance(event, AccountOpened):
            self._count_account(position, stream)
        after = evolve_account(known, recorded)
        if (wrong := wrong_with_account(after)) is not None:
            self._wrong(position, stream, wrong)
            return
        if not isinstance(event, AccountOpened):
            self._check_required(position, recorded, event.payment_id)
        self.accounts[stream] = after
        self._watch(position, after)

    def _count_account(self, position: int, stream: str) -> None:
        if self._from_the_first and stream != (expected := account_stream(self.next_account_id)):
            self._findings.add(position, f"{stream} is opened where {expected} must come next")
        self.next_account_id = stream_id(stream) + self._slots.count

    def _check_required(self, position: int, recorded: Recorded[AccountEvent], of_payment: int) -> None:
        """Compare an account's event that names a payment with the event that the payment requires."""
        stream = payment_stream(of_payment)
        required = self._required.pop(stream, None)
        if stream in self._lost:
            return
        if required is None:
            if not self._began_within_batch(recorded):
                self._findings.add(position, f"no event of {stream} requires this event")
        elif (required.account, required.event) != (recorded.originator_id, recorded.data) or (
            required.decision != (recorded.at, recorded.command_id, recorded.sender, recorded.cause)
        ):
            self._findings.add(position, f"{stream} at position {required.position} requires another event")

    # --- payments ---

    def _step_payment(self, position: int, recorded: Recorded[PaymentEvent]) -> None:
        stream, event = recorded.originator_id, recorded.data
        before = self._payments.get(stream, _NONE).payment
        if stream in self._lost or self._out_of_place(position, recorded, before, PaymentRequested):
            return
        if before is None:
            self._count_payment(position, cast("PaymentRequested", event))
        else:
            lead = self._leads.pop(stream, None)
            wrong = wrong_with_step(before, event)
            if wrong is None and (lead is not None or type(event) in FOLLOWERS):
                wrong = wrong_with_follower(before, recorded, lead)
            if wrong is not None:
                self._wrong(position, stream, wrong)
                return
        required = self._required.pop(stream, None)
        if required is not None or type(event) is PaymentFailed:
            self._close_required(position, recorded, required)
        after = self._apply_payment(position, recorded)
        asked = asked_of_account(before, after, event)
        if asked is not None and (account := account_stream(after.account_id)) not in self._lost:
            cause = f"{stream}/{recorded.originator_version}"
            decision = recorded.at, recorded.command_id, recorded.sender, cause
            self._required[stream] = _Required(position, account, asked, decision)

    def _count_payment(self, position: int, event: PaymentRequested) -> None:
        expected = payment_id(self.next_payment_sequence, event.account_id)
        if self._from_the_first and event.payment_id != expected:
            self._findings.add(position, f"payment {event.payment_id} is requested where {expected} must come next")
        self.next_payment_sequence = (event.payment_id - 1) // SLOTS + 1
        stream = account_stream(event.account_id)
        account = self.accounts.get(stream)
        currency = None if account is None else account.currency
        if self._from_the_first and stream not in self._lost and currency != event.currency:
            self._findings.add(position, f"there is no account {event.account_id} in {event.currency}")

    def _close_required(self, position: int, recorded: Recorded[PaymentEvent], required: _Required | None) -> None:
        """Report an account's event that the payment's previous event requires and that did not come.

        A withdrawal that is refused for insufficient funds has the refusal in place of the required hold.
        """
        stream, event = recorded.originator_id, recorded.data
        if isinstance(event, PaymentFailed) and event.ended_by == "request":
            if required is None:
                if not self._began_within_batch(recorded):
                    self._findings.add(position, f"{stream} is refused for insufficient funds, but its money was held")
            elif (wrong := self._wrong_with_funds(event)) is not None:
                self._findings.add(position, f"{stream} is refused {wrong}")
        elif required is not None:
            self._report_missing(stream, required)

    def _wrong_with_funds(self, event: PaymentFailed) -> str | None:
        """Say why the account's money does not bear out the refusal of a payment, if it does not."""
        account = self.accounts.get(account_stream(event.account_id))
        if account is not None and account.available_minor >= event.account_minor:
            return "for insufficient funds, but they suffice"
        if account is None or event.available_minor in {None, account.available_minor}:
            return None
        return f"with {event.available_minor} minor units available, and {account.available_minor} were available"

    def _apply_payment(self, position: int, recorded: Recorded[PaymentEvent]) -> Payment:
        stream = recorded.originator_id
        before = self._payments.get(stream, _NONE)
        after = evolve_payment(before.payment, recorded)
        schedule = schedule_after(before.schedule, recorded)
        self._payments[stream] = QueuedPayment(after, schedule, position)
        if after.ended:
            self._ended.add(stream)
        if type(recorded.data) in LEADS and (kind := following(before.payment, recorded.data)) is not None:
            self._leads[stream] = Lead(kind, recorded, position)
        return after

    def _forget_ended(self) -> None:
        # Only at the page's end: the page may have more events of these payments, and streams are restored at its
        # start.
        for stream in self._ended:
            known = self._payments.get(stream)
            if known is not None and not known.is_queued:
                del self._payments[stream]
        self._ended.clear()

    def _began_within_batch(self, recorded: Recorded[Any]) -> bool:
        """Tell whether the event that requires this one may be before the audit's start, in the same batch."""
        return not self._from_the_first and recorded.at == self._began_at

    # --- findings ---

    def _out_of_place(
        self,
        position: int,
        recorded: Recorded[Any],
        known: Account | Payment | None,
        first: type[AccountOpened | PaymentRequested],
    ) -> bool:
        """Report an event in a wrong stream or with a wrong version, and return whether it is one."""
        stream, version = recorded.originator_id, recorded.originator_version
        before = 0 if known is None else known.version
        wrong = None
        if not is_of(known, recorded) and stream != expected_stream(recorded):
            wrong = f"{recorded.data.TOPIC} is in the stream {stream!r}"
        elif version != before + 1:
            wrong = f"version {version} of {stream} follows version {before}"
        elif (type(recorded.data) is first) != (known is None):
            wrong = f"{recorded.data.TOPIC} is version {version} of {stream}"
        if wrong is not None:
            self._wrong(position, stream, wrong)
        return wrong is not None

    def _report_missing(self, stream: str, required: _Required) -> None:
        if required.account not in self._lost and stream not in self._lost:
            what = f"{required.event.TOPIC} of {required.account}, required by {stream}, is missing"
            self._findings.add(required.position, what)

    def _wrong(self, position: int, stream: str, what: str) -> None:
        """Report a wrong event, and check its stream no further: the error could make all later events look wrong."""
        self._findings.add(position, what)
        self._lost.add(stream)
        self.accounts.pop(stream, None)
        self._payments.pop(stream, None)


class _Nothing(NamedTuple):
    """Stands for a payment that is not in memory."""

    payment: None = None
    schedule: None = None


_NONE: Final = _Nothing()
