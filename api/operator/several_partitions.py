"""Audits of a ledger with several partitions: each by itself, and what they come to together."""

from collections.abc import Callable, Sequence
from contextlib import closing
from decimal import Decimal
from typing import Final
from uuid import UUID

from msgspec import Struct
from msgspec.structs import asdict

from api.operator.checkpoint import PartitionHead, digest_of
from api.operator.verification import sum_up
from api.views.trial_balance import CurrencyBalance
from ledger.audit.findings import AuditError, AuditReport
from ledger.errors import LogBroken
from ledger.partition.partition import Partition, Partitions
from ledger.progress import Progress, no_progress
from ledger.store.migrate import read_identity

_ADDED: Final = frozenset(CurrencyBalance.__struct_fields__) - {"currency", "gateways"}
"""The sums of a currency that are added up over partitions."""


class PartitionAudit(Struct, frozen=True, kw_only=True):
    """The result of an audit of one of several partitions, with the fields of an audit."""

    partition: int
    ok: bool
    events: int
    position: int
    digest: str
    errors: list[AuditError]


class LedgerAudit(Struct, frozen=True, kw_only=True):
    """The result of an audit of all partitions: `ok` without errors, and the number of `events` that were checked.

    `digest` is that of the checkpoint which the verified heads are.
    """

    ok: bool
    events: int
    digest: str
    partitions: list[PartitionAudit]


def verify_all(
    partitions: Partitions,
    check: Callable[[Partition, Progress[str]], AuditReport],
    *,
    on_progress: Progress[str] = no_progress,
) -> LedgerAudit:
    """Check partition after partition; a log that cannot be read is an error of its own and does not stop the others.

    Raises RebuildUnderWay, psycopg.Error.
    """
    audits = []
    for partition in partitions:
        try:
            report = check(partition, _progress_of(partition, on_progress))
        except LogBroken as broken:
            error = AuditError(broken.position, broken.what)
            report = AuditReport(ok=False, events=0, position=0, digest="", errors=[error])
        audits.append(PartitionAudit(partition=partition.number, **asdict(report)))
    heads = [
        PartitionHead(
            ledger_id=_ledger_id(partition), partition=partition.number, position=audit.position, digest=audit.digest
        )
        for partition, audit in zip(partitions, audits, strict=True)
    ]
    return LedgerAudit(
        ok=all(audit.ok for audit in audits),
        events=sum(audit.events for audit in audits),
        digest=digest_of(heads),
        partitions=audits,
    )


def _progress_of(partition: Partition, on_progress: Progress[str]) -> Progress[str]:
    return lambda stage, *done: on_progress(f"partition {partition.number}: {stage}", *done)


def _ledger_id(partition: Partition) -> UUID:
    with closing(partition.database.connect(application="payment-ledger audit")) as connection:
        return read_identity(connection).ledger_id


class PartitionBooks(Struct, frozen=True, kw_only=True):
    """Up to which position the journal of a partition was summed up, and whether it balances by itself."""

    partition: int
    balanced: bool
    position: int


class LedgerBooks(Struct, frozen=True, kw_only=True):
    """The trial balance of several partitions. Each journal balances by itself, and the sums balance too."""

    balanced: bool
    partitions: list[PartitionBooks]
    set_aside: list[str]
    currencies: list[CurrencyBalance]


def sum_up_all(partitions: Partitions) -> LedgerBooks:
    """Sum up the journals of all partitions by currency. Raises psycopg.Error."""
    books = [sum_up(partition.database) for partition in partitions]
    by_currency: dict[str, list[CurrencyBalance]] = {}
    for each in books:
        for currency in each.currencies:
            by_currency.setdefault(currency.currency, []).append(currency)
    return LedgerBooks(
        balanced=all(each.balanced for each in books),
        partitions=[
            PartitionBooks(partition=number, balanced=each.balanced, position=each.position or 0)
            for number, each in enumerate(books)
        ],
        set_aside=[stream for each in books for stream in each.set_aside],
        currencies=[_added(by_currency[name]) for name in sorted(by_currency)],
    )


def _added(balances: Sequence[CurrencyBalance]) -> CurrencyBalance:
    """Add the sums of partitions in one currency."""
    first, *others = balances
    added = asdict(first)
    for other in others:
        added = {
            **added,
            **{name: added[name] + value for name, value in asdict(other).items() if name in _ADDED},
            "gateways": {
                name: added["gateways"].get(name, Decimal(0)) + other.gateways.get(name, Decimal(0))
                for name in sorted({*added["gateways"], *other.gateways})
            },
        }
    return CurrencyBalance(**added)
