"""Proves the read models: row by row against what the log makes of them, and the books against the accounts.

The comparison is the rebuild's, which applies the log to copies beside the live tables; so it needs room for them, the
owner's rights, and a snapshot for as long as it takes to read the tables once, but no memory that grows with the log.
"""

from contextlib import closing

from ledger.audit_findings import Findings
from ledger.database import Database
from projections.errors import EventNotApplicable
from projections.rebuild import Difference, Progress, RowDifference, rebuild
from projections.trial_balance import SQL, currency_sums


def check_read_models(
    database: Database, findings: Findings, *, progress: Progress = lambda _stage, _done, _total: None
) -> None:
    """Compare all read models with the log at the position where they stand, and sum up the books.

    A row is reported at the position of its last event. Raises RebuildUnderWay, ReadModelsChanged, and psycopg.Error
    when the database is away.
    """
    try:
        compared = rebuild(database, check_only=True, progress=progress)
    except EventNotApplicable as fault:
        findings.add(fault.position, f"the read models cannot take it: {fault.what}")
        return
    for difference in compared.differences:
        _report(difference, findings)
    _check_books(database, findings, position=compared.position)


def _report(difference: Difference, findings: Findings) -> None:
    for example in difference.examples:
        findings.add(_position(example, difference.position), f"{difference.table} {_said(example)}")
    if difference.differing > len(difference.examples):
        what = f"{difference.table} differs in {difference.differing} rows, of which some are listed"
        findings.add(difference.position, what)


def _position(example: RowDifference, otherwise: int) -> int:
    for row in (example.rebuilt, example.live):
        if row is not None and "position" in row:
            return int(row["position"])
    return otherwise


def _said(example: RowDifference) -> str:
    """Say how a row differs, by the columns in which it does."""
    if example.live is None:
        return f"lacks the row {example.rebuilt}"
    if example.rebuilt is None:
        return f"has a row that no event has made: {example.live}"
    differing = {name: value for name, value in example.rebuilt.items() if example.live[name] != value}
    return f"has { ({name: example.live[name] for name in differing}) } where the log says {differing}"


def _check_books(database: Database, findings: Findings, *, position: int) -> None:
    with closing(database.connect(application="payment-ledger audit")) as connection:
        for sums in currency_sums(connection.execute(SQL["sum_up"])):
            if not sums.balanced:
                what = (
                    f"the books in {sums.currency} do not balance: the postings sum up to {sums.sum_minor}, and of"
                    f" {-sums.customers_minor} that customers own their accounts hold {sums.accounts_minor}"
                )
                findings.add(position, what)
