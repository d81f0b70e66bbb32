"""How to connect to the ledger's database: the server, the schema and the role.

One partition of the ledger is one schema. Only this module spells the schema's name: every connection has it as its
search path, so that statements need not name it. The service works as the role `<schema>_service`, which may append to
the log and never change it. The role is a connection option, so that no ROLLBACK or DISCARD ALL can drop it. Migrations
and rebuilds connect as the owner.

Each new session proves that it has the settings that it asks for (`session_proof`), because a pooler may drop options.
The session settings that several parts share stand here, each with its reason. A part adds its own, such as time-outs.

In a database of several nodes, `url` leads to the node that owns the schema, and `admin_url` to the one that DDL,
rebuilds and whole audits have to go to.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from msgspec import Struct
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from ledger.store.session_proof import ensure_sessions_of_their_own, prove, prove_async

CONNECT_TIMEOUT_SECONDS: Final = 5
TCP_USER_TIMEOUT_MS: Final = 10_000
KEEPALIVE_SECONDS: Final = 3
KEEPALIVES_MAX: Final = 3
"""With these limits, a connection to a server that vanished fails within about 12 seconds, even while only waiting."""

SessionSettings = Mapping[str, str]
"""Server settings of a session, by name."""

DURABLE: Final[SessionSettings] = {"synchronous_commit": "on"}
"""For who commits something that others then rely on: durability is not for the defaults of a session to lose."""

WARNED: Final[SessionSettings] = {**DURABLE, "client_min_messages": "warning"}
"""For who also looks at the warning that only this server has a commit: it must come through."""

BY_INDEX: Final[SessionSettings] = {"enable_seqscan": "off"}
"""For who looks up by key. Without this, a plan that was made while a table was small reads all of it ever after."""

PINNED: Final[SessionSettings] = {
    "timezone": "UTC",
    "datestyle": "ISO, MDY",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "standard_conforming_strings": "on",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
}
"""For every session: the settings that change how values and statements are read, and the isolation of transactions.

A database or a role may have other defaults.
"""


class Database(Struct, frozen=True):
    """A libpq URL or connection string, the schema that holds the ledger, and where its administration goes."""

    url: str
    schema: str = "ledger"
    admin_url: str | None = None

    @property
    def service_role(self) -> str:
        """The role that the service uses in this schema."""
        return f"{self.schema}_service"

    @property
    def administration(self) -> "Database":
        """The same ledger where DDL, rebuilds and whole audits go."""
        return self if self.admin_url is None else Database(self.admin_url, self.schema)

    def settings(self, *, owner: bool = False, options: SessionSettings | None = None) -> dict[str, str]:
        """Return everything that a session asks for."""
        settings = {"search_path": self.schema, **PINNED, **(options or {})}
        return settings if owner else {**settings, "role": self.service_role}

    def conninfo(self, *, application: str, owner: bool = False, options: SessionSettings | None = None) -> str:
        """Return a libpq connection string. A session that is opened with it is still to be proved.

        `application` names the session in the server's views, `options` are server settings of the session, and `owner`
        connects as the owner of the schema instead of the service's role.
        """
        settings = self.settings(owner=owner, options=options)
        ours = " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items())
        given = self._given()
        merged: dict[str, Any] = {
            **given,
            "options": f"{given.get('options', '')} {ours}".strip(),
            "application_name": application,
            "client_encoding": settings["client_encoding"],
        }
        return make_conninfo(**merged)

    def connect(
        self,
        *,
        application: str,
        owner: bool = False,
        options: SessionSettings | None = None,
        within_seconds: float | None = None,
    ) -> psycopg.Connection:
        """Open a connection in autocommit mode, and prove its session.

        `within_seconds` shortens the time in which each host must be reached. Raises psycopg.OperationalError when the
        server cannot be reached, and StoreBroken for a session that does not have what it asks for.
        """
        conninfo = _within(self.conninfo(application=application, owner=owner, options=options), within_seconds)
        return _proved(psycopg.connect(conninfo, autocommit=True), self.prover(owner=owner, options=options))

    def connect_to_repeat(
        self, *, application: str, options: SessionSettings | None = None, within_seconds: float | None = None
    ) -> "RepeatingConnection":
        """Open a connection for a caller that sends the same few statements many times. Raises as `connect` does."""
        conninfo = _within(self.conninfo(application=application, options=options), within_seconds)
        return _proved(RepeatingConnection.connect(conninfo, autocommit=True), self.prover(options=options))

    async def connect_async(
        self, *, application: str, options: SessionSettings | None = None
    ) -> psycopg.AsyncConnection[Any]:
        """Open a connection on the running event loop. Raises as `connect` does."""
        conninfo = self.conninfo(application=application, options=options)
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        try:
            await self.async_prover(options=options)(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    def prover(
        self, *, owner: bool = False, options: SessionSettings | None = None
    ) -> Callable[[psycopg.Connection[Any]], None]:
        """Return a function that proves a new session, such as those of a pool. It raises as `connect` does."""
        wanted = self.settings(owner=owner, options=options)
        return lambda connection: prove(connection, wanted, connect=self._connect_plainly)

    def async_prover(
        self, *, owner: bool = False, options: SessionSettings | None = None
    ) -> Callable[[psycopg.AsyncConnection[Any]], Awaitable[None]]:
        """Return a function that proves a new session of an event loop. It raises as `connect` does."""
        wanted = self.settings(owner=owner, options=options)
        return lambda connection: prove_async(connection, wanted, connect=self._connect_plainly)

    def ensure_sessions_of_their_own(self) -> None:
        """Refuse a pooler that shares server connections. Raises PoolerSharesSessions, psycopg.Error."""
        ensure_sessions_of_their_own(self._connect_plainly)

    def _connect_plainly(self) -> psycopg.Connection[Any]:
        """Open a connection that asks for nothing."""
        conninfo = make_conninfo(**{**self._given(), "application_name": "payment-ledger check"})
        return psycopg.connect(conninfo, autocommit=True)

    def _given(self) -> dict[str, Any]:
        """Return the parameters of the URL, and our time-outs where it has none."""
        given = conninfo_to_dict(self.url)
        if given.get("target_session_attrs") == "read-write":
            # The operator means the primary of several servers. libpq would refuse "read-write" for read-only sessions.
            given["target_session_attrs"] = "primary"
        return {
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "tcp_user_timeout": TCP_USER_TIMEOUT_MS,
            "keepalives_idle": KEEPALIVE_SECONDS,
            "keepalives_interval": KEEPALIVE_SECONDS,
            "keepalives_count": KEEPALIVES_MAX,
            **given,
        }


class RepeatingConnection(psycopg.Connection[Any]):
    """A connection with one cursor for each statement, which keeps what psycopg has found out about its parameters.

    A new cursor finds that out again, which takes a quarter of a short transaction's time. The caller must read a
    statement's result before it sends the same statement again.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - psycopg's own
        super().__init__(*args, **kwargs)
        self._cursors: dict[str, psycopg.Cursor[Any]] = {}

    def execute(  # type: ignore[override]  # psycopg also takes bytes and composed SQL; this takes text only
        self,
        query: LiteralString,
        params: Mapping[str, Any] | None = None,
        *,
        prepare: bool | None = None,
        binary: bool = False,
    ) -> psycopg.Cursor[Any]:
        """Send a statement with its own cursor."""
        cursor = self._cursors.get(query)
        if cursor is None:
            cursor = self._cursors[query] = self.cursor()
        return cursor.execute(query, params, prepare=prepare, binary=binary)


ConnectionT = TypeVar("ConnectionT", bound=psycopg.Connection[Any])


def _proved(connection: ConnectionT, prove_session: Callable[[psycopg.Connection[Any]], None]) -> ConnectionT:
    try:
        prove_session(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _within(conninfo: str, seconds: float | None) -> str:
    """Shorten the time-out for connecting, unless that of the URL is shorter."""
    if seconds is None:
        return conninfo
    timeout = int(conninfo_to_dict(conninfo)["connect_timeout"] or CONNECT_TIMEOUT_SECONDS)
    return make_conninfo(conninfo, connect_timeout=min(timeout, math.ceil(seconds)))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace(" ", "\\ ")
