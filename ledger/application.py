"""The ledger as an `eventsourcing` application: its repository, notification log and snapshots, for reading.

Commands do not come this way: they go through `ledger.writer`, which decides on its own books and appends in its own
transaction. What the library's `save()` would write beside it would be sealed and in order, but decided by nobody.
"""

from collections.abc import Iterable
from typing import ClassVar, NoReturn

from eventsourcing.application import AggregateNotFoundError, Application

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.database import Database
from ledger.errors import AccountNotFound, PaymentNotFound
from ledger.events import AccountEvent, PaymentEvent, Recorded
from ledger.identifiers import account_stream, payment_stream
from ledger.mapper import AccountSnapshot
from ledger.payment import Payment


class Ledger(Application[str]):
    """One partition of the ledger, read through `eventsourcing`."""

    env: ClassVar[dict[str, str]] = {
        "PERSISTENCE_MODULE": "ledger.persistence",
        "MAPPER_TOPIC": "ledger.mapper:LedgerMapper",
        "IS_SNAPSHOTTING_ENABLED": "y",
    }
    snapshot_class = AccountSnapshot

    def __init__(self, database: Database) -> None:
        super().__init__({**self.env, "DATABASE_URL": database.url, "LEDGER_SCHEMA": database.schema})

    def account(self, account_id: int, *, version: int | None = None) -> Account:
        """Fold an account from its snapshot and events, as it is or as it was at a version. Raises AccountNotFound."""
        try:
            return self.repository.get(account_stream(account_id), version=version, projector_func=project_account)
        except AggregateNotFoundError:
            raise AccountNotFound(account_id=account_id) from None

    def payment(self, payment_id: int, *, version: int | None = None) -> Payment:
        """Fold a payment from its events, as it is or as it was at a version. Raises PaymentNotFound."""
        try:
            return self.repository.get(payment_stream(payment_id), version=version, projector_func=project_payment)
        except AggregateNotFoundError:
            raise PaymentNotFound(payment_id=payment_id) from None

    def save(self, *_objects: object, **_kwargs: object) -> NoReturn:
        """Refuse: events are decided and written by `ledger.writer.Writer`."""
        raise TypeError("send a command to ledger.writer.Writer; the application only reads")


def project_account(
    account: Account | None, events: Iterable[Recorded[AccountEvent] | AccountSnapshot]
) -> Account | None:
    """Fold an account's events, which may begin with a snapshot."""
    for event in events:
        account = event.state if isinstance(event, AccountSnapshot) else ledger.account.evolve(account, event)
    return account


def project_payment(payment: Payment | None, events: Iterable[Recorded[PaymentEvent]]) -> Payment | None:
    """Fold a payment's events."""
    for event in events:
        payment = ledger.payment.evolve(payment, event)
    return payment
