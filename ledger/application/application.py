"""The ledger as an `eventsourcing` application: its repository, notification log and snapshots, for reading.

The API, the command line and analysts read histories, replays and earlier balances through it. Readers see committed
events only and take no locks. Commands do not use it: `ledger.writer` decides on its own cache and appends in its own
transaction. The library's `save()` would write sealed events in order, but no business rule would have decided them.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar, cast

from eventsourcing import persistence
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.persistence import MapperDeserialisationError
from msgspec import Struct

from ledger.application.recorder import LedgerFactory, LedgerRecorder, PlacedEvent
from ledger.domain.account import Account
from ledger.domain.events import (
    FIRST_EVENTS,
    AccountEvent,
    AnyEvent,
    GatewayChanged,
    LedgerRecovered,
    PaymentEvent,
    Recorded,
)
from ledger.domain.evolve import evolve_account, evolve_payment
from ledger.domain.gateway_schedule import Schedule, schedule_after
from ledger.domain.identifiers import LEDGER_STREAM, OPERATION_STREAM, account_stream, payment_stream
from ledger.domain.payment import Payment
from ledger.errors import AccountNotFound, DatabaseUnavailable, LogBroken, PaymentNotFound
from ledger.store.database import Database
from ledger.store.serialization import AccountSnapshot

PAGE: Final = 1_000
"""How many events of a stream one query reads."""

EventT = TypeVar("EventT", bound=AnyEvent)
ResultT = TypeVar("ResultT")


class Placed(NamedTuple, Generic[EventT]):
    """An event and its position in the log."""

    position: int
    recorded: Recorded[EventT]


class AccountAt(Struct, frozen=True, kw_only=True):
    """An account after the event at `position`, the last event that counts, which was recorded at `at`."""

    account: Account
    position: int
    at: datetime


class AccountStep(NamedTuple):
    """An event of an account, and the account after it."""

    position: int
    recorded: Recorded[AccountEvent]
    account: Account


class PaymentStep(NamedTuple):
    """An event of a payment, the payment after it, and its next gateway call."""

    position: int
    recorded: Recorded[PaymentEvent]
    payment: Payment
    schedule: Schedule | None


class Ledger(Application[str]):
    """One partition of the ledger, read through `eventsourcing`.

    Every method raises DatabaseUnavailable when the database cannot be reached.
    """

    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": "ledger.application.recorder",
        "MAPPER_TOPIC": "ledger.store.serialization:LedgerMapper",
        "IS_SNAPSHOTTING_ENABLED": "y",
        "LEDGER_READS_ONLY": "y",
    }
    snapshot_class = AccountSnapshot

    def __init__(self, database: Database) -> None:
        super().__init__({**self.env, "DATABASE_URL": database.url, "LEDGER_SCHEMA": database.schema})
        assert isinstance(self.recorder, LedgerRecorder), self.recorder
        assert isinstance(self.factory, LedgerFactory), self.factory
        self._placed = self.recorder
        self._datastore = self.factory.datastore

    def account(self, account_id: int, *, version: int | None = None) -> Account:
        """Fold an account from its snapshot and events, up to `version` if given. Raises AccountNotFound."""
        return self._available(lambda: self._account(account_id, version))

    def payment(self, payment_id: int, *, version: int | None = None) -> Payment:
        """Fold a payment from its events, up to `version` if given. Raises PaymentNotFound."""

        def read() -> Payment:
            return self.repository.get(payment_stream(payment_id), version=version, projector_func=project_payment)

        try:
            return self._available(read)
        except AggregateNotFoundError:
            raise PaymentNotFound(payment_id=payment_id) from None

    def payment_history(self, payment_id: int) -> list[Placed[PaymentEvent]]:
        """Read a payment's events with their positions, oldest first. Raises PaymentNotFound, LogBroken."""
        placed = list(self.stream(payment_stream(payment_id)))
        if not placed:
            raise PaymentNotFound(payment_id=payment_id)
        return placed

    def account_at(
        self, account_id: int, *, position: int | None = None, at: datetime | None = None
    ) -> AccountAt | None:
        """Read an account at a position or a time, both inclusive; None when it was not open then.

        The caller gives exactly one of `position` and `at`. Positions and times grow with the account's versions, so
        the version is found by bisection. Raises AccountNotFound, LogBroken.
        """
        assert (position is None) != (at is None), "one of position and at"

        def counts(placed: Placed[Any]) -> bool:
            return placed.position <= position if position is not None else placed.recorded.at <= cast("datetime", at)

        return self._available(lambda: self._account_at(account_id, counts))

    def replay_account(self, account_id: int) -> Iterator[AccountStep]:
        """Yield each event of an account, and the account after it. Raises AccountNotFound, LogBroken."""
        account: Account | None = None
        for position, recorded in self.stream(account_stream(account_id)):
            account = evolve_account(account, recorded)
            yield AccountStep(position, recorded, account)
        if account is None:
            raise AccountNotFound(account_id=account_id)

    def replay_payment(self, payment_id: int) -> Iterator[PaymentStep]:
        """Yield each event of a payment, and the payment after it. Raises PaymentNotFound, LogBroken."""
        payment: Payment | None = None
        schedule: Schedule | None = None
        for position, recorded in self.stream(payment_stream(payment_id)):
            payment, schedule = evolve_payment(payment, recorded), schedule_after(schedule, recorded)
            yield PaymentStep(position, recorded, payment, schedule)
        if payment is None:
            raise PaymentNotFound(payment_id=payment_id)

    def stream(self, stream: str) -> Iterator[Placed[Any]]:
        """Read a stream page by page, oldest event first.

        Raises LogBroken for an event that cannot be read or does not follow the event before it.
        """
        version = 0
        while True:
            after = version
            page = self._available(lambda: self._placed.select_placed(stream, gt=after, limit=PAGE))  # noqa: B023
            for placed in page:
                if placed.stored.originator_version != version + 1:
                    what = f"version {placed.stored.originator_version} of {stream} follows version {version}"
                    raise LogBroken(position=placed.position, what=what)
                version += 1
                yield self._decoded(placed)
            if len(page) < PAGE:
                return

    def save(self, *_objects: object, **_kwargs: object) -> Any:  # noqa: ANN401 - never returns
        """Refuse, because only `ledger.writer.Writer` decides and writes events. Raises TypeError."""
        raise TypeError("send a command to ledger.writer.Writer; the application only reads")

    def _account(self, account_id: int, version: int | None) -> Account:
        try:
            return self.repository.get(account_stream(account_id), version=version, projector_func=project_account)
        except AggregateNotFoundError:
            raise AccountNotFound(account_id=account_id) from None

    def _account_at(self, account_id: int, counts: Callable[[Placed[Any]], bool]) -> AccountAt | None:
        low, high = 0, self._account(account_id, None).version
        found: Placed[Any] | None = None
        while low < high:
            middle = (low + high + 1) // 2
            page = self._placed.select_placed(account_stream(account_id), gt=middle - 1, lte=middle, limit=1)
            if not page:
                raise LogBroken(position=0, what=f"account-{account_id} has no version {middle}")
            placed = self._decoded(page[0])
            if counts(placed):
                low, found = middle, placed
            else:
                high = middle - 1
        if found is None:
            return None
        return AccountAt(account=self._account(account_id, low), position=found.position, at=found.recorded.at)

    def _decoded(self, placed: PlacedEvent) -> Placed[Any]:
        stored = placed.stored
        try:
            recorded = cast("Recorded[Any]", self.mapper.to_domain_event(stored))
        except MapperDeserialisationError as error:
            raise LogBroken(position=placed.position, what=str(error)) from error
        event, stream = recorded.data, str(stored.originator_id)
        is_first = isinstance(event, FIRST_EVENTS)
        if (isinstance(event, LedgerRecovered) and stream == LEDGER_STREAM) or (
            isinstance(event, GatewayChanged) and stream == OPERATION_STREAM
        ):
            return Placed(placed.position, recorded)
        if is_first != (recorded.originator_version == 1) or isinstance(event, AccountEvent) != stream.startswith(
            "account-"
        ):
            what = f"{stored.topic} is version {recorded.originator_version} of {stream}"
            raise LogBroken(position=placed.position, what=what)
        return Placed(placed.position, recorded)

    def _available(self, read: Callable[[], ResultT]) -> ResultT:
        """Read; when a connection was lost, read again once on new connections. Raises DatabaseUnavailable."""
        try:
            try:
                return read()
            except (persistence.OperationalError, persistence.InterfaceError):
                self._datastore.discard_lost_connections()
                return read()
        except (persistence.OperationalError, persistence.InterfaceError) as error:
            raise DatabaseUnavailable from error


def project_account(
    account: Account | None, events: Iterable[Recorded[AccountEvent] | AccountSnapshot]
) -> Account | None:
    """Fold an account's events, which may begin with a snapshot."""
    for event in events:
        account = event.state if isinstance(event, AccountSnapshot) else evolve_account(account, event)
    return account


def project_payment(payment: Payment | None, events: Iterable[Recorded[PaymentEvent]]) -> Payment | None:
    """Fold a payment's events."""
    for event in events:
        payment = evolve_payment(payment, event)
    return payment
