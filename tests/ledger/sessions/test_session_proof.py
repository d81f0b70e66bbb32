"""Each new session has what it asks for, or is refused with the reason, before anything is done in it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ledger.errors import DatabaseEncodingWrong, PoolerSharesSessions, SessionRefused
from ledger.store.database import PINNED, Database
from ledger.store.migrate import migrate
from ledger.store.session_proof import SQL, _proof, ensure_sessions_of_their_own, prove, prove_async
from tests.support.databases import execute, fresh_database, fresh_ledger, remove
from tests.support.servers.pgbouncer import needs_pgbouncer, pgbouncer_before


def in_force(connection: psycopg.Connection[Any], names: list[str]) -> dict[str, str]:
    """The settings of a session, by name."""
    return {name: str(connection.execute("SELECT current_setting(%s)", [name]).fetchall()[0][0]) for name in names}


@pytest.fixture
def unlike_ours(postgres_url: str) -> Iterator[str]:
    """A database with other defaults for all settings that change how values are read."""
    with fresh_database(postgres_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            for name, value in {
                "timezone": "Asia/Kathmandu",
                "datestyle": "SQL, DMY",
                "intervalstyle": "sql_standard",
                "bytea_output": "escape",
                "client_encoding": "LATIN1",
                "extra_float_digits": "-3",
                "array_nulls": "off",
                "transform_null_equals": "on",
                "default_transaction_isolation": "serializable",
                "search_path": "pg_catalog",
            }.items():
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET {} TO {}").format(
                        sql.Identifier(connection.info.dbname), sql.Identifier(name), sql.Literal(value)
                    )
                )
        yield url


def test_a_session_pins_whatever_changes_its_values(unlike_ours: str) -> None:
    """The defaults of a database, a role or a server do not count."""
    with fresh_ledger(unlike_ours) as database:
        with closing(database.connect(application="test")) as connection:
            found = in_force(connection, [*PINNED, "search_path", "role"])

        assert found == {**PINNED, "search_path": database.schema, "role": database.service_role}


def test_a_session_whose_options_were_dropped_gets_its_settings_in_another_way(database: Database) -> None:
    """A pooler that ignores start-up options leaves a session of the owner in no schema."""
    wanted = database.settings(options={"lock_timeout": "60s"})
    with psycopg.connect(database.url, autocommit=True) as plain:
        prove(plain, wanted, connect=lambda: psycopg.connect(database.url, autocommit=True))
        with plain.transaction(force_rollback=True):
            plain.execute("SELECT 1")
        found = in_force(plain, ["role", "search_path", "lock_timeout"])

    assert found == {"role": database.service_role, "search_path": database.schema, "lock_timeout": "1min"}


class Forgetful(psycopg.Connection[Any]):
    """A connection through which no setting arrives, as through a proxy that answers by itself."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Send a statement, except the one that sets."""
        if query == SQL["put_in_force"]:
            query = "SELECT %(values)s::text[] FROM unnest(%(names)s::text[]) LIMIT 1"
        return super().execute(query, params, **more)


def test_a_session_that_does_not_have_what_it_asked_for_is_refused(database: Database) -> None:
    """It would work as the owner, who may change the log."""
    with (
        closing(Forgetful.connect(database.url, autocommit=True)) as plain,
        pytest.raises(SessionRefused) as refused,
    ):
        prove(plain, {"role": database.service_role}, connect=lambda: psycopg.connect(database.url))

    assert refused.value.facts == {"setting": "role", "wanted": database.service_role, "found": "none"}


def test_a_database_that_is_not_in_utf8_is_refused_before_anything_is_made_in_it(postgres_url: str) -> None:
    """Texts of clients would be refused one by one, or stored as something else."""
    name = "not_utf8"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LOCALE 'C'")
        try:
            database = Database(make_conninfo(postgres_url, dbname=name), "ledger")
            with pytest.raises(DatabaseEncodingWrong, match="SQL_ASCII"):
                migrate(database)
            with psycopg.connect(database.url) as inside:
                assert inside.execute("SELECT to_regnamespace('ledger')").fetchone() == (None,)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_direct_connection_is_known_at_once(database: Database) -> None:
    """No second connection is needed."""
    opened: list[psycopg.Connection[Any]] = []

    def connect() -> psycopg.Connection[Any]:
        opened.append(psycopg.connect(database.url, autocommit=True))
        return opened[-1]

    from_outside = Database(database.url, database.schema)
    with pytest.MonkeyPatch.context() as patching:
        patching.setattr(Database, "_connect_plainly", lambda _: connect())
        from_outside.ensure_sessions_of_their_own()

    assert len(opened) == 1


class ToldAnotherPid(psycopg.AsyncConnection[Any]):
    """A connection whose server has another process id than the one it was told, as behind a pooler."""

    async def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Send a statement, and read another process id."""
        if query == SQL["read_in_force"]:
            query = query.replace("pg_backend_pid()", "0")
        return await super().execute(query, params, **more)


def test_an_event_loop_goes_on_while_a_session_is_proved(database: Database) -> None:
    """The proof connects to the pooler, which may take seconds; all other requests of the process would stand still."""
    asked, went_on = threading.Event(), threading.Event()

    def connect() -> psycopg.Connection[Any]:
        asked.set()
        assert went_on.wait(3)
        return psycopg.connect(database.url, autocommit=True)

    async def go_on() -> None:
        while not asked.is_set():  # noqa: ASYNC110 - it is set in a thread
            await asyncio.sleep(0.01)
        went_on.set()

    async def role_after_proof() -> list[tuple[Any, ...]]:
        async with await ToldAnotherPid.connect(database.url, autocommit=True) as plain:
            await asyncio.gather(prove_async(plain, {"role": database.service_role}, connect=connect), go_on())
            return list(await (await plain.execute("SELECT current_user")).fetchall())

    assert asyncio.run(role_after_proof()) == [(database.service_role,)]


# --- behind Debian's pgbouncer ---------------------------------------------------------------------------------------


class SharedByAll(psycopg.Connection[Any]):
    """A connection whose server has one process for all sessions, as behind a pooler of transactions."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Send a statement, and read the process id that all sessions have."""
        return super().execute("SELECT 7" if query == SQL["read_pid"] else query, params, **more)


class OfItsOwn(psycopg.Connection[Any]):
    """A connection behind a pooler of sessions: its server's process is its own, and not the one it was told."""

    def execute(self, query: Any, params: Any = None, **more: Any) -> Any:
        """Send a statement, and read a process id that no other session has."""
        return super().execute(f"SELECT {id(self)}" if query == SQL["read_pid"] else query, params, **more)


def test_sessions_with_one_server_connection_are_refused(database: Database) -> None:
    """The settings of one would count for the other."""
    with pytest.raises(PoolerSharesSessions):
        ensure_sessions_of_their_own(lambda: SharedByAll.connect(database.url, autocommit=True))

    ensure_sessions_of_their_own(lambda: OfItsOwn.connect(database.url, autocommit=True))


def test_a_session_whose_server_connection_changes_while_it_is_proved_is_refused(database: Database) -> None:
    """The settings are in force in another server connection."""
    proof = _proof(1, {"role": "service"}, lambda: psycopg.connect(database.url, autocommit=True))
    next(proof)
    proof.send((2, "UTF8", ["none"]))
    proof.send((["service"],))

    with pytest.raises(PoolerSharesSessions):
        proof.send((3, "UTF8", ["service"]))


def test_a_session_of_an_event_loop_that_is_refused_is_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or every try would leave one behind."""
    opened: list[psycopg.AsyncConnection[Any]] = []

    async def refuse(connection: psycopg.AsyncConnection[Any]) -> None:
        opened.append(connection)
        raise SessionRefused(setting="role", wanted="service", found="none")

    monkeypatch.setattr(Database, "async_prover", lambda *_, **__: refuse)
    with pytest.raises(SessionRefused):
        asyncio.run(database.connect_async(application="test"))

    assert [connection.closed for connection in opened] == [True]


@needs_pgbouncer
@pytest.mark.parametrize("ignored", ["options", "options, client_encoding"])
def test_a_pooler_of_sessions_works_although_it_drops_options(postgres_url: str, ignored: str) -> None:
    """The service works as its role in its schema, and leaves nothing in `public`."""
    with fresh_database(postgres_url) as url, pgbouncer_before(url, pool_mode="session", ignored=ignored) as pooled:
        database = Database(pooled, "ledger_behind_a_pooler")
        database.ensure_sessions_of_their_own()
        migrate(database)
        try:
            found = execute(database, "SELECT current_user, current_schema(), current_setting('timezone')")
            asynchronously = asyncio.run(role_of_async(database))
            tables = execute(
                Database(url, "public"), "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", owner=True
            )
        finally:
            remove(database)

    assert found == [(database.service_role, database.schema, "UTC")]
    assert asynchronously == database.service_role
    assert tables == [(0,)]


async def role_of_async(database: Database) -> str:
    """The role of a session of an event loop."""
    async with await database.connect_async(application="test") as connection:
        row = await (await connection.execute("SELECT current_user")).fetchone()
    assert row is not None
    return str(row[0])


@needs_pgbouncer
@pytest.mark.parametrize("extra", ["", "server_round_robin = 1"])
def test_a_pooler_of_transactions_is_refused_by_name(postgres_url: str, extra: str) -> None:
    """Before anything is set in the server connections that others share."""
    with fresh_database(postgres_url) as url, pgbouncer_before(url, pool_mode="transaction", extra=extra) as pooled:
        database = Database(pooled, "ledger_behind_a_pooler")
        with pytest.raises(PoolerSharesSessions, match="pool whole sessions"):
            database.ensure_sessions_of_their_own()
        with pytest.raises(PoolerSharesSessions):
            migrate(database)
