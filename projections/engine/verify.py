"""Proves the read models: row by row against what the log makes of them, and the books against the accounts.

It names each stream that is set aside and each model that is not filled, and checks where the groups stand and who
leads them against bounds. `TRACKING_COLUMNS` says how each column of their table is covered.

The comparison is the rebuild's, which applies the log to copies beside the live tables; so it needs room for them, the
owner's rights, and a snapshot for as long as it takes to read the tables once, but no memory that grows with the log.
"""

from collections.abc import Mapping
from contextlib import closing
from typing import Any, Final

import psycopg

from ledger.audit.check_bounds import (
    CLOCKS_APART_MAX,
    NAME_CHARACTERS_MAX,
    STORE_COLUMNS,
    Coverage,
    bounded,
    recomputed,
)
from ledger.audit.check_events import FIRST_TIME
from ledger.audit.findings import Findings
from ledger.progress import Progress, no_progress
from ledger.store.database import Database
from ledger.store.statements import load_statements
from projections.contract.read_model import SET_ASIDE
from projections.engine.rebuild import Difference, RowDifference, Stage, rebuild
from projections.engine.set_aside import read_set_aside
from projections.errors import EventNotApplicable
from projections.models.registry import GROUPS
from projections.models.trial_balance import SQL as SUMS
from projections.models.trial_balance import currency_sums

SQL: Final = load_statements("projections.engine", "verify.sql")

_BOUNDS: Final = {
    "first_time": FIRST_TIME,
    "clocks_apart_max": CLOCKS_APART_MAX,
    "name_max": NAME_CHARACTERS_MAX,
}

TRACKING_COLUMNS: Final[Mapping[str, Coverage]] = (
    recomputed("from the registry of read models", "name", "models")
    | bounded("the log's last position; the rows are compared with the log up to there", "position")
    | bounded("at most 300 characters", "leader")
    | bounded("at most a minute ahead of the clock", "leader_until", "updated_at")
    | bounded("a stop is an error", "stopped_at_position", "stopped_because")
)
"""How the audit covers each column of `projection_tracking`."""


def covered_columns() -> dict[str, Mapping[str, Coverage]]:
    """Say of each column of each table how the audit covers it; those of read models are compared with a rebuild."""
    tables = (*(table for group in GROUPS for table in group.tables), SET_ASIDE)
    rebuilt = {table.name: recomputed("from the events, as a rebuild does", *table.columns) for table in tables}
    return {**STORE_COLUMNS, "projection_tracking": TRACKING_COLUMNS, **rebuilt}


def check_read_models(database: Database, findings: Findings, *, progress: Progress[Stage] = no_progress) -> None:
    """Compare all read models with the log at the position where they stand, and sum up the books.

    A row is reported at the position of its last event. Raises RebuildUnderWay, ReadModelsChanged, and psycopg.Error
    when the database cannot be reached.
    """
    with closing(database.administration.connect(application="payment-ledger audit")) as connection:
        if not _check_tracking(connection, findings):
            return
    try:
        compared = rebuild(database, check_only=True, progress=progress)
    except EventNotApplicable as fault:
        findings.add(fault.position, f"the read models cannot take it: {fault.what}")
        return
    for difference in compared.differences:
        _report(difference, findings)
    with closing(database.administration.connect(application="payment-ledger audit")) as connection:
        _check_set_aside(connection, findings)
        _check_books(connection, findings, position=compared.position)


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


def _check_tracking(connection: psycopg.Connection[Any], findings: Findings) -> bool:
    """Check that each group is tracked, stands in the log, is not stopped, and has all of its models filled.

    Tells whether all groups are tracked. Only then they have positions to compare them at.
    """
    wanted = {group.name: [model.name for model in group.models] for group in GROUPS}
    last = 0
    for name, position, last, models, *stop, late, until, updated_late, updated, unnamed in connection.execute(
        SQL["read_tracking"], _BOUNDS
    ):
        stopped_at_position, because = stop
        unfilled = [model for model in wanted.pop(name, ()) if model not in models]
        faults = {
            f"{name} is not a group of read models": name not in {group.name for group in GROUPS},
            f"{name} stands at position {position}, and the log ends at {last}": position > last,
            f"{', '.join(unfilled)} of {name} was not filled from the log; a rebuild fills it": bool(unfilled),
            f"{name} names models that it does not have": not set(models) <= _models(name),
            f"{name} is stopped at position {stopped_at_position}: {because}": stopped_at_position is not None,
            f"{name} gives a reason for a stop and is not stopped": stopped_at_position is None and because is not None,
            f"the leadership of {name} lasts until {until}": late,
            f"{name} was moved at {updated}": updated_late,
            f"the leader of {name} has no name of an instance": unnamed,
        }
        for what, is_wrong in faults.items():
            if is_wrong:
                findings.add(min(position, last), what)
    for name in wanted:
        findings.add(last, f"{name} is not tracked, so nothing moves it")
    return not wanted


def _models(name: str) -> set[str]:
    return {model.name for group in GROUPS if group.name == name for model in group.models}


def _check_set_aside(connection: psycopg.Connection[Any], findings: Findings) -> None:
    for aside in read_set_aside(connection):
        findings.add(aside.position, f"{aside.stream} is set aside by {aside.name}: {aside.because}")


def _check_books(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    for sums in currency_sums(connection.execute(SUMS["sum_up"])):
        if not sums.balanced:
            what = (
                f"the books in {sums.currency} do not balance: the postings sum up to {sums.sum_minor}, and of"
                f" {-sums.customers_minor} that customers own their accounts hold {sums.accounts_minor};"
                f" {sums.debit_minor} is debited, and {sums.entered_minor} entered"
            )
            findings.add(position, what)
