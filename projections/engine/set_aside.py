"""Sets streams aside whose events a group cannot apply, so that one user's impossible event stops nobody else.

From the guilty event on, no event of the stream is applied to the group. The stream stands in `projection_set_aside`,
in the health report, in the audit and in the trial balance, and reads of its user are refused until a rebuild has taken
it in again.

Only a fault of the data sets a stream aside: a fold that cannot take it, or a row that the database refuses. A missing
right or table stops the group, and every other error of a fold stops it too, such as that of a process without memory.
The group goes on by itself once the cause is gone, and nobody needs to rebuild it. More than SET_ASIDE_MAX streams stop
it as well, because a fault of that many is not one user's.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, cast

import psycopg
from msgspec import Struct

from ledger.domain.events import Recorded
from ledger.domain.identifiers import stream_id
from ledger.store.serialization import decode
from ledger.store.statements import load_statements
from projections.contract.log_page import Connection, Placed
from projections.contract.postgres_text import one_line
from projections.contract.read_model import Group
from projections.contract.table_names import REBUILT, aimed
from projections.errors import EventNotApplicable

SQL: Final = load_statements("projections.engine", "set_aside.sql")

SET_ASIDE_MAX: Final = 20
"""Few enough to look at one by one, and more than one user's account and payments of one moment."""

_OF_DATA: Final = (
    EventNotApplicable,
    AssertionError,
    ArithmeticError,
    LookupError,
    UnicodeError,
    psycopg.DataError,
    psycopg.IntegrityError,
)
"""The errors with which a fold or the database refuses data."""


class SetAside(Struct, frozen=True, kw_only=True):
    """A stream that a group has set aside from `position` on, and why; `account_id` is its user, where known."""

    name: str
    stream: str
    account_id: int | None
    position: int
    because: str


def ask_set_aside(connection: Connection, group: Group, suffix: str) -> psycopg.Cursor[Any]:
    """Ask for the streams that a group has set aside; `streams_of` reads the answer."""
    return connection.execute(aimed(SQL["read_streams"], suffix), {"name": group.name}, prepare=True)


def streams_of(answer: psycopg.Cursor[Any]) -> set[str]:
    """Read the answer of `ask_set_aside`."""
    return {stream for (stream,) in answer}


def without(events: Sequence[Placed], streams: Collection[str]) -> Sequence[Placed]:
    """Leave out the events of streams that are set aside."""
    if not streams:
        return events
    return [placed for placed in events if placed[1].originator_id not in streams]


def read_set_aside(connection: Connection) -> list[SetAside]:
    """Read all streams that are set aside, by group and stream."""
    return [
        SetAside(**dict(zip(SetAside.__struct_fields__, row, strict=True)))
        for row in connection.execute(SQL["read_all"])
    ]


def can_set_aside(error: Exception, streams: Collection[str]) -> bool:
    """Tell whether an error in applying one event is a fault of its data, and not of too many streams."""
    return isinstance(error, _OF_DATA) and len(streams) < SET_ASIDE_MAX


def set_aside(connection: Connection, group: Group, placed: Placed, error: Exception, suffix: str) -> SetAside:
    """Set the stream of an event aside that could not be applied; the connection is in a transaction."""
    position, recorded = placed
    aside = SetAside(
        name=group.name,
        stream=recorded.originator_id,
        account_id=_account_of(connection, recorded),
        position=position,
        because=_because(error),
    )
    parameters = {name: getattr(aside, name) for name in SetAside.__struct_fields__}
    connection.execute(aimed(SQL["set_aside"], suffix), parameters)
    return aside


def _account_of(connection: Connection, recorded: Recorded[Any]) -> int | None:
    """Tell whose stream it is: a payment's first event names its account."""
    stream = recorded.originator_id
    try:
        if stream.startswith("account-"):
            return stream_id(stream)
        row = connection.execute(SQL["read_first_event"], {"stream": stream}).fetchone()
        return None if row is None else cast("int | None", getattr(decode(stream, 1, *row).data, "account_id", None))
    except Exception:  # noqa: BLE001 - whatever the stream holds, it is set aside; only its user is not known then
        return None


def _because(error: Exception) -> str:
    """Say why an event cannot be applied, in words that are the same for the live tables and their copies."""
    if isinstance(error, EventNotApplicable):
        return error.what
    if isinstance(error, psycopg.Error):
        what = error.diag.constraint_name or error.diag.message_primary or ""
        # A message has the name of a table in quotation marks.
        what = what.removesuffix(REBUILT).replace(REBUILT + '"', '"')
        return f"{type(error).__name__}: {what}"
    return one_line(error)
