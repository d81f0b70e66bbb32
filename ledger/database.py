"""How the ledger's database is reached: which one, which schema, and as whom.

One partition of the ledger is one schema. Only this module spells its name: connections get it as their search path, so
that no statement has to. The service works as the role `<schema>_service`, which may append to the log and never change
it; the role is a connection option, so that no ROLLBACK or DISCARD ALL can drop it. Migrations and rebuilds connect as
the owner.
"""

from collections.abc import Mapping
from typing import Any, Final, LiteralString

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

CONNECT_TIMEOUT_SECONDS: Final = 5
TCP_USER_TIMEOUT_MS: Final = 10_000
KEEPALIVE_SECONDS: Final = 3
KEEPALIVES_MAX: Final = 3
"""A server that has vanished without a word is noticed within about 12 seconds, even by who only waits for it."""


class Database(Struct, frozen=True):
    """A libpq URL or connection string, and the schema that holds the ledger."""

    url: str
    schema: str = "ledger"

    @property
    def service_role(self) -> str:
        """The role as which the service works in this schema."""
        return f"{self.schema}_service"

    def conninfo(self, *, application: str, owner: bool = False, options: Mapping[str, str] | None = None) -> str:
        """Give the connection string for one part of the program; `options` are server settings of its sessions."""
        settings = {"search_path": self.schema, "timezone": "UTC", **(options or {})}
        if not owner:
            settings["role"] = self.service_role
        given = conninfo_to_dict(self.url)
        if given.get("target_session_attrs") == "read-write":
            # Means the primary of several servers; libpq would refuse it for sessions of ours that only read.
            given["target_session_attrs"] = "primary"
        ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
        merged: dict[str, Any] = {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "keepalives_idle": KEEPALIVE_SECONDS,
            "keepalives_interval": KEEPALIVE_SECONDS,
            "keepalives_count": KEEPALIVES_MAX,
            **given,
            "options": f"{given.get('options', '')} {ours}".strip(),
            "application_name": application,
        }
        return make_conninfo(**merged)

    def connect(
        self, *, application: str, owner: bool = False, options: Mapping[str, str] | None = None
    ) -> psycopg.Connection:
        """Open a connection in autocommit mode. Raises psycopg.OperationalError when the server is not there."""
        return psycopg.connect(self.conninfo(application=application, owner=owner, options=options), autocommit=True)

    def connect_to_repeat(self, *, application: str, options: Mapping[str, str] | None = None) -> "RepeatingConnection":
        """The same, for who sends the same few statements again and again."""
        return RepeatingConnection.connect(self.conninfo(application=application, options=options), autocommit=True)


class RepeatingConnection(psycopg.Connection[Any]):
    """A connection with one cursor for each statement, which keeps what psycopg has learnt about its parameters.

    To find that out anew takes a quarter of the time of a short transaction. What a statement has answered has to be
    read before the same statement is sent again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - psycopg's own
        super().__init__(*args, **kwargs)
        self._cursors: dict[str, psycopg.Cursor[Any]] = {}

    def execute(  # type: ignore[override]  # of what psycopg takes, ours are only texts
        self,
        query: LiteralString,
        params: Mapping[str, Any] | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.Cursor[Any]:
        """Send a statement with the cursor that is its own."""
        cursor = self._cursors.get(query)
        if cursor is None:
            cursor = self._cursors[query] = self.cursor()
        return cursor.execute(query, params, prepare=prepare, binary=binary)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
