"""One table of SQLSTATE classes: the meaning of an error for the session, for the batch under way, and for its caller.

Every part that uses the database asks `meaning_of`. Nothing branches on the text of an error or on the name of a
constraint. An error without an SQLSTATE comes from the client library: the connection was lost, or a value cannot be
sent.

* The session is kept, or it is closed and a new one is made.
* The batch is decided again after a pause; or it is decided again a few times, and then its commands are decided one by
  one; or they are decided one by one at once, because the data is at fault.
* The caller waits. When the patience of the batch is over, it gets `database_unavailable`, or
  `outcome_unknown` when a COMMIT was under way. The command that alone meets a fault of the data gets
  `command_rejected`.
"""

from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import psycopg
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping


class Batch(Enum):
    """The next step for the batch that met the error."""

    AGAIN = "again"
    AGAIN_THEN_SINGLY = "again, then singly"
    SINGLY = "singly"


class Meaning(Struct, frozen=True):
    """The meaning of one class of errors; `words` name it for logs and operators."""

    words: str
    ends_session: bool
    batch: Batch

    @property
    def is_of_data(self) -> bool:
        """Whether the data of a command is at fault, and neither the session nor the server."""
        return not self.ends_session and self.batch is not Batch.AGAIN

    @property
    def may_be_data(self) -> bool:
        """Whether the data may be at fault: it is, or the error does not say whose fault it is."""
        return self.batch is not Batch.AGAIN


_KEPT: Final = False
_CLOSED: Final = True

LOST: Final = Meaning("the connection was lost, or the server did not answer in time", _CLOSED, Batch.AGAIN)

UNFORESEEN: Final = Meaning("an error that the program does not know", _CLOSED, Batch.AGAIN_THEN_SINGLY)

_DATA: Final = Meaning("the database cannot store the data", _KEPT, Batch.SINGLY)

MEANINGS: "Final[Mapping[str, Meaning]]" = MappingProxyType(
    {
        "08": LOST,
        "0A": Meaning(
            "the server does not support this statement in this session, such as a kept plan of a changed table",
            _CLOSED,
            Batch.AGAIN,
        ),
        "22": _DATA,
        "23": _DATA,
        "23505": Meaning(
            "another session has stored the same position or key, although this one held the head's lock",
            _KEPT,
            Batch.AGAIN_THEN_SINGLY,
        ),
        "25": Meaning("the session's transaction is not as expected", _CLOSED, Batch.AGAIN),
        "25006": Meaning("the session may only read: the server is a standby, or read-only", _CLOSED, Batch.AGAIN),
        "26": Meaning(
            "a prepared statement is gone: a pooler gave the session another server connection", _CLOSED, Batch.AGAIN
        ),
        "28": Meaning("the server refuses the user", _CLOSED, Batch.AGAIN),
        "3D": Meaning("the database does not exist", _CLOSED, Batch.AGAIN),
        "3F": Meaning("the schema does not exist", _CLOSED, Batch.AGAIN),
        "40": Meaning("the server rolled the transaction back in favour of another", _KEPT, Batch.AGAIN),
        "40003": Meaning("the server does not know how the statement ended", _CLOSED, Batch.AGAIN),
        "42": Meaning("the schema is not the one that the program expects", _CLOSED, Batch.AGAIN),
        "42501": Meaning("the session's role does not have the right to do this", _CLOSED, Batch.AGAIN),
        "42P05": Meaning(
            "a prepared statement exists already: a pooler shares server connections between sessions",
            _CLOSED,
            Batch.AGAIN,
        ),
        "53": Meaning("the server has run out of disk, memory or connections", _KEPT, Batch.AGAIN),
        "54": Meaning("the data is too large or too complex for the server", _KEPT, Batch.SINGLY),
        "55": Meaning("something that the statement needs is locked or not ready", _KEPT, Batch.AGAIN),
        "57": Meaning("an operator or a restart ended the session", _CLOSED, Batch.AGAIN),
        "57014": Meaning("the statement was cancelled, or took too long", _KEPT, Batch.AGAIN),
        "58": Meaning("the server had an error of its system, such as a disk", _CLOSED, Batch.AGAIN),
        "F0": Meaning("the server's configuration is not valid", _CLOSED, Batch.AGAIN),
        "XX": Meaning("the server had an internal error", _CLOSED, Batch.AGAIN_THEN_SINGLY),
    }
)
"""By class (two characters) or, where one differs from its class, by the whole SQLSTATE."""


def meaning_of(error: psycopg.Error) -> Meaning:
    """Return the meaning of an error."""
    sqlstate = error.sqlstate
    if sqlstate is not None:
        return MEANINGS.get(sqlstate) or MEANINGS.get(sqlstate[:2]) or UNFORESEEN
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return _DATA
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return LOST
    return UNFORESEEN
