"""Rebuilds the read models from the log, shows how they differ from the live ones, and swaps them in.

The copies are tables of the same form beside the live ones, filled by the same code as those. A rebuild goes in steps:

1. copies are made, and the log is applied to them, up to where the live tables stand;
2. for a moment the tracking rows are locked, so that both sides stand at the same position; one snapshot taken then
   serves to compare them row by row, while the projector already goes on;
3. the copies catch up with the head, and under the tracking rows' lock they take the place of the live tables, with
   the names of their constraints and indexes, their options, grants and owner. Projectors go on from the copies'
   position.

The service goes on all the while. A rebuild that is killed has changed nothing that anybody reads, and the next one
clears away what it left. Comparing holds a snapshot for as long as it takes to read the tables once; nothing else does.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final, Literal

import psycopg
import psycopg.errors
import stamina
from msgspec import Struct
from psycopg import sql

from ledger.progress import Progress, no_progress
from ledger.store.database import BY_INDEX, DURABLE, Database
from ledger.store.statements import load_statements
from projections.contract.log_page import Connection, Placed, read_page
from projections.contract.read_model import SET_ASIDE, Group, Table
from projections.contract.table_names import LIVE, REBUILT, table
from projections.engine.set_aside import SetAside, can_set_aside, set_aside, without
from projections.errors import ReadModelsChanged, RebuildUnderWay
from projections.models.registry import GROUPS, TABLES

SQL: Final = load_statements("projections.engine", "rebuild.sql")

PAGE_MAX: Final = 10_000
EXAMPLES_MAX: Final = 20
LOCK_ATTEMPTS: Final = 5
SWAP_ATTEMPTS: Final = 30
SWAP_LOCK_TIMEOUT: Final = "1s"

_SESSION: Final = {**DURABLE, **BY_INDEX, "lock_timeout": "10s", "jit": "off"}

Stage = Literal["applying", "indexing", "comparing", "swapping"]


class RowDifference(Struct, frozen=True, kw_only=True):
    """A row as the live table and the rebuilt one have it; None on the side that has none."""

    live: dict[str, Any] | None
    rebuilt: dict[str, Any] | None


class Difference(Struct, frozen=True, kw_only=True):
    """How a live table differs from the rebuilt one at the same position.

    Of `differing` rows, `missing` are only in the rebuilt table and `surplus` only in the live one; `examples` are the
    first of them by key.
    """

    table: str
    position: int
    differing: int
    missing: int
    surplus: int
    examples: Sequence[RowDifference]


class Rebuilding(Struct, frozen=True, kw_only=True):
    """The result of a rebuild: the differences of all tables, how far it applied the log, and whether it swapped.

    `set_aside` are the streams whose events it could not apply.
    """

    position: int
    differences: Sequence[Difference]
    swapped: bool
    set_aside: Sequence[SetAside] = ()

    @property
    def clean(self) -> bool:
        """Whether the live tables were as the log says."""
        return not any(difference.differing for difference in self.differences)


def rebuild(
    database: Database,
    *,
    check_only: bool = False,
    page_max: int = PAGE_MAX,
    examples_max: int = EXAMPLES_MAX,
    progress: Progress[Stage] = no_progress,
) -> Rebuilding:
    """Rebuild all read models, or with `check_only` just compare them.

    `progress` is told how many positions, or tables, of a stage are done.
    Raises RebuildUnderWay, ReadModelsChanged, EventNotApplicable, and psycopg.Error when the database cannot be
    reached, when something that is not ours depends on a table, or when a table stays locked through all attempts.
    """
    with (
        closing(
            database.administration.connect(application="payment-ledger rebuild", owner=True, options=_SESSION)
        ) as connection,
        closing(
            database.administration.connect(application="payment-ledger rebuild", owner=True, options=_SESSION)
        ) as locker,
    ):
        row = connection.execute(SQL["lock"]).fetchone()
        if row != (True,):
            raise RebuildUnderWay(schema=database.schema)
        copies = _Copies(connection, page_max=page_max, progress=progress)
        copies.clear()
        try:
            shape = copies.create()
            copies.catch_up_with_live(locker)
            differences = copies.compare(examples_max)
            if not check_only:
                copies.catch_up_with_head()
                copies.swap(shape, schema=database.schema)
        finally:
            if not connection.closed:
                copies.clear()
    return Rebuilding(
        position=copies.position, differences=differences, swapped=not check_only, set_aside=copies.set_aside
    )


class _Copies:
    """The copies of the live tables, and how far the log is applied to each group of them."""

    def __init__(self, connection: Connection, *, page_max: int, progress: Progress[Stage]) -> None:
        self._connection = connection
        self._page_max = page_max
        self._progress = progress
        self._positions = dict.fromkeys(_NAMES, 0)
        self._set_aside: tuple[SetAside, ...] = ()

    @property
    def position(self) -> int:
        """How far the log is applied to all of them."""
        return min(self._positions.values())

    @property
    def set_aside(self) -> Sequence[SetAside]:
        """The streams that the copies do not have, from an event on that could not be applied."""
        return self._set_aside

    # --- making and clearing ---

    def clear(self) -> None:
        """Drop copies, if there are any."""
        self._run("drop_copies")

    def create(self) -> list[Any]:
        """Make empty copies; give the shape of what they are copies of."""
        with self._connection.transaction():
            shape = self._shape()
            self._run("create_copies")
            self._run("create_keys")
            self._run("give_rights")
        return shape

    def _shape(self) -> list[Any]:
        return self._connection.execute(SQL["read_shape"], _PARAMETERS).fetchall()

    def _run(self, name: str) -> None:
        """Run the statements that a statement gives."""
        for (statement,) in self._connection.execute(SQL[name], _PARAMETERS).fetchall():
            self._connection.execute(statement)

    # --- applying ---

    def catch_up_with_live(self, locker: Connection) -> None:
        """Come to where the live tables stand, and leave a transaction open whose snapshot sees both there."""
        while not self._near(live := _positions(locker)):
            self._apply_upto(live)
        self._index()
        for attempt in stamina.retry_context(on=psycopg.errors.LockNotAvailable, attempts=LOCK_ATTEMPTS):
            with attempt, locker.transaction():
                self._apply_upto(_locked_positions(locker))
                self._connection.execute(SQL["begin_comparing"])
                self._connection.execute(SQL["take_snapshot"])

    def _near(self, live: Mapping[str, int]) -> bool:
        return all(position - self._positions[name] <= self._page_max for name, position in live.items())

    def catch_up_with_head(self) -> None:
        """Apply pages until the rest of the log is short enough to be applied under the lock."""
        while self.position < (head := self._head()):
            self._apply_upto(dict.fromkeys(_NAMES, head))
        self._count()

    def _head(self) -> int:
        row = self._connection.execute(SQL["read_head"]).fetchone()
        assert row is not None
        position: int = row[0]
        return position

    def _apply_upto(self, wanted: Mapping[str, int]) -> None:
        """Apply the log to each group up to the position wanted for it; a page is read once for all of them."""
        while behind := [group for group in GROUPS if self._positions[group.name] < wanted[group.name]]:
            after = min(self._positions[group.name] for group in behind)
            upto = min([wanted[group.name] for group in behind] + [after + self._page_max])
            upto = min([upto, *(p for p in self._positions.values() if p > after)])
            self._apply_page([group for group in behind if self._positions[group.name] == after], after, upto)
            self._progress("applying", upto, max(wanted.values()))

    def _apply_page(self, groups: Sequence[Group], after: int, upto: int) -> None:
        page = read_page(self._connection, after=after, size=upto - after)
        if page.fault is not None:
            raise page.fault
        with self._connection.transaction():
            for group in groups:
                self._apply(group, page.events)
        self._positions.update((group.name, upto) for group in groups)

    def _apply(self, group: Group, events: Sequence[Placed]) -> None:
        """Apply events to the copies of a group, and set the streams aside whose events it cannot apply."""
        streams = {aside.stream for aside in self._set_aside if aside.name == group.name}
        kept = without(events, streams)
        if not kept:
            return
        try:
            with self._connection.transaction():
                group.apply(self._connection, kept, REBUILT)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise  # the database's fault, and no event's
        except Exception as error:
            if len(kept) > 1:
                self._apply(group, kept[: len(kept) // 2])
                self._apply(group, kept[len(kept) // 2 :])
                return
            if not can_set_aside(error, streams):
                raise
            self._set_aside = (*self._set_aside, set_aside(self._connection, group, kept[0], error, REBUILT))

    def _index(self) -> None:
        self._progress("indexing", 0, len(TABLES))
        self._run("create_indexes")
        self._count()

    def _count(self) -> None:
        """Tell the planner how much there is. Live tables that were empty have told nothing of it before."""
        for done, name in enumerate(TABLES, start=1):
            self._connection.execute(sql.SQL("ANALYZE {}").format(table(name, REBUILT)))
            self._progress("indexing", done, len(TABLES))

    # --- comparing ---

    def compare(self, examples_max: int) -> list[Difference]:
        """Compare all tables in the snapshot that `catch_up_with_live` has left open, and end it."""
        try:
            found = [
                self._compare(each, self._positions[group.name], examples_max)
                for group in GROUPS
                for each in group.tables
            ]
            return [*found, self._compare(SET_ASIDE, self.position, examples_max)]
        finally:
            self._connection.execute(SQL["end_comparing"])

    def _compare(self, compared: Table, position: int, examples_max: int) -> Difference:
        self._progress("comparing", TABLES.index(compared.name), len(TABLES))
        statement = sql.SQL(SQL["compare"]).format(
            live=table(compared.name, LIVE),
            rebuilt=table(compared.name, REBUILT),
            key=_names(compared.key),
            live_key=sql.Identifier("l", compared.key[0]),
            rebuilt_key=sql.Identifier("r", compared.key[0]),
            live_columns=_names(compared.columns, of="l"),
            rebuilt_columns=_names(compared.columns, of="r"),
        )
        rows = self._connection.execute(statement, {"examples": examples_max}).fetchall()
        differing, missing, surplus = rows[0][:3] if rows else (0, 0, 0)
        return Difference(
            table=compared.name,
            position=position,
            differing=differing,
            missing=missing,
            surplus=surplus,
            examples=[RowDifference(live=row[3], rebuilt=row[4]) for row in rows],
        )

    # --- swapping ---

    def swap(self, shape: list[Any], *, schema: str) -> None:
        """Put the copies in the place of the live tables, at the position of whichever is further.

        Raises ReadModelsChanged when the live tables do not have the given shape any more.
        """
        for attempt in stamina.retry_context(
            on=psycopg.errors.LockNotAvailable, attempts=SWAP_ATTEMPTS, timeout=None, wait_max=2.0
        ):
            with attempt:
                self.catch_up_with_head()
                self._progress("swapping", attempt.num, SWAP_ATTEMPTS)
                before, aside = dict(self._positions), self._set_aside
                try:
                    self._swap(shape, schema)
                except BaseException:
                    self._positions, self._set_aside = (
                        before,
                        aside,
                    )  # the rollback takes back the events applied under the lock
                    raise

    def _swap(self, shape: list[Any], schema: str) -> None:
        with self._connection.transaction():
            self._connection.execute(SQL["bound_swap"], {"lock_timeout": SWAP_LOCK_TIMEOUT})
            self._apply_upto(_locked_positions(self._connection))
            if self._shape() != shape:
                raise ReadModelsChanged(schema=schema)
            self._run("swap")
            for group in GROUPS:
                models = [model.name for model in group.models]
                moved = {"name": group.name, "position": self._positions[group.name], "models": models}
                self._connection.execute(SQL["move"], moved)


_NAMES: Final = [group.name for group in GROUPS]
_PARAMETERS: Final = {"tables": list(TABLES), "suffix": REBUILT}


def _names(columns: Sequence[str], *, of: str | None = None) -> sql.Composed:
    """List columns, those of one side of a join where it is said which."""
    return sql.SQL(", ").join(sql.Identifier(*(() if of is None else (of,)), name) for name in columns)


def _positions(connection: Connection) -> dict[str, int]:
    return dict(connection.execute(SQL["read_positions"], {"names": _NAMES}).fetchall())


def _locked_positions(connection: Connection) -> dict[str, int]:
    connection.execute(SQL["lock_positions"], {"names": _NAMES})
    return _positions(connection)
