"""The declaration of a read model, and how a group of them takes a page of the log.

A read model declares its tables, the rows that its fold has to know, the fold, and the function that stores what the
fold gives. The registry lists the models; grants, tracking rows, the rebuild, the audit and the tests follow from these
declarations, so that a new model is its module, its SQL, a migration and a line of the registry.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Generic, LiteralString, TypeVar

import psycopg
from msgspec import Struct

from ledger.store.array_parameters import Bigints
from projections.contract.log_page import Connection, Placed
from projections.contract.table_names import aimed

RowT = TypeVar("RowT", bound=Struct)
ChangesT = TypeVar("ChangesT")


class Table(Struct, frozen=True, kw_only=True):
    """A table of a read model: its name, the columns of its primary key, and all its columns."""

    name: str
    key: tuple[str, ...]
    columns: tuple[str, ...]


SET_ASIDE: Final = Table(
    name="projection_set_aside",
    key=("name", "stream"),
    columns=("name", "stream", "account_id", "position", "because"),
)
"""The streams that groups have set aside; the engine writes it, and a rebuild makes it again like a read model."""


class Lookup(Struct, Generic[RowT], frozen=True, kw_only=True):
    """Rows that a fold has to know as they were before the page.

    `ids_in` gives the ids that a page is about, and `statement` reads their rows: it takes `ids`, and its columns are
    the fields of `row_type`, the id first. Models that share a lookup have it read once.
    """

    ids_in: Callable[[Sequence[Placed]], Collection[int]]
    statement: LiteralString
    row_type: type[RowT]

    def ask(self, connection: Connection, events: Sequence[Placed], suffix: str) -> psycopg.Cursor[Any]:
        """Ask for the rows; `known` reads the answer."""
        parameters = {"ids": Bigints(sorted(self.ids_in(events)))}
        return connection.execute(aimed(self.statement, suffix), parameters, prepare=True, binary=True)

    def known(self, answer: psycopg.Cursor[Any]) -> Mapping[int, RowT]:
        """Read the answer of `ask`: the rows by their ids."""
        return {row[0]: self.row_type(*row) for row in answer}


class ReadModel(Struct, Generic[ChangesT], frozen=True, kw_only=True):
    """A read model; its module and its SQL have its name.

    `fold` is pure: it takes the events of a page and, for each of `reads`, the rows found; it gives the changes that
    the page makes, or raises EventNotApplicable. `store` sends the changes to the tables with a suffix (see
    `projections.contract.table_names`); it is called inside a pipeline and reads no result.
    """

    name: str
    tables: tuple[Table, ...]
    fold: Callable[..., ChangesT]
    store: Callable[[Connection, ChangesT, str], None]
    reads: tuple[Lookup[Any], ...] = ()


class Group(Struct, frozen=True):
    """Read models that share a tracking row, stop together and always agree with each other."""

    name: str
    models: tuple[ReadModel[Any], ...]

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of all its models."""
        return tuple(table for model in self.models for table in model.tables)

    def only(self, names: Collection[str]) -> "Group":
        """Give the group with those of its models that are named."""
        if all(model.name in names for model in self.models):
            return self
        return Group(self.name, tuple(model for model in self.models if model.name in names))

    def apply(self, connection: Connection, events: Sequence[Placed], suffix: str) -> None:
        """Apply the events that follow the group's position; the connection is in a transaction.

        One round trip reads the rows that folds have to know, one writes the changes of all models. Raises
        EventNotApplicable, or what the database says.
        """
        known = self._look_up(connection, events, suffix)
        with connection.pipeline():
            for model in self.models:
                changes = model.fold(events, *(known[lookup] for lookup in model.reads))
                model.store(connection, changes, suffix)

    def _look_up(
        self, connection: Connection, events: Sequence[Placed], suffix: str
    ) -> Mapping[Lookup[Any], Mapping[int, Any]]:
        lookups = dict.fromkeys(lookup for model in self.models for lookup in model.reads)
        if not lookups:
            return {}
        with connection.pipeline():
            asked = {lookup: lookup.ask(connection, events, suffix) for lookup in lookups}
        return {lookup: lookup.known(answer) for lookup, answer in asked.items()}
