"""Migrates a database's schema to the version that this program needs.

The migrations are plain SQL files under `migrations/`, applied in the order of their names. One transaction contains
the migrations, their rows in `schema_migrations`, the service's role and its grants, so a process that dies in
`migrate` leaves the store unchanged. An advisory lock lets one of several processes migrate while the others wait.

The tables that follow the log are made by migrations as well, and which they are is for those to say who make rows of
them: a caller names them as `Followers`, and the service's role may then change them.

Each migration says which parts of an older program may run on the store after it (`migrations.older_parts`). A
migration is refused while others are alive, and a program starts on a newer store only where it may.

Where the owner may not create roles, `RoleMissing` carries the SQL for an administrator who may.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cache
from importlib.resources import files
from typing import Any, Final, LiteralString, cast
from uuid import UUID, uuid4

import psycopg
import psycopg.errors
from msgspec import Struct
from psycopg import sql

from ledger.domain.identifiers import ALL_SLOTS, Slots
from ledger.errors import DatabaseNotDurable, PostgresTooOld, RoleMissing, SchemaMissing, SchemaNewer, SchemaOlder
from ledger.fail_points import fail_point
from ledger.store.database import BY_INDEX, DURABLE, Database
from ledger.store.hash_chain import first_seal
from ledger.store.heartbeats import FRESH
from ledger.store.migrations.older_parts import PARTS, Beside, OlderPartsAlive, in_words, said_in
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.store", "migrate.sql")


_COMMENT: Final = re.compile(r"^[ \t]*--[^\n]*\n?", re.MULTILINE)
_STATEMENT_END: Final = re.compile(r";[ \t]*$", re.MULTILINE)


class Migration(Struct, frozen=True):
    """A file of `migrations/`: its name without `.sql`, its statements, and what it says about older parts."""

    id: str
    statements: tuple[LiteralString, ...]
    beside: Beside


class Followers(Struct, frozen=True, kw_only=True):
    """The followers of the log: the tables made from it, and the groups whose positions are tracked, with their models.

    The service's role may change the tables; tracking begins before position 1. A model that is not among those of a
    group which has begun is not filled, and a rebuild has to fill it.
    """

    tables: Sequence[str] = ()
    tracked: Mapping[str, Sequence[str]] = {}


POSTGRES_MIN: Final = 18
"""The first version of Postgres that serves a ledger. Sessions use `transaction_timeout`, which 16 does not have."""

_VERSION_STEP: Final = 10_000  # 180004 is 18.4

NO_FOLLOWERS: Final = Followers()


@cache
def migrations() -> tuple[Migration, ...]:
    """Return the migrations that this program knows, in the order in which they are applied."""
    folder = files("ledger.store").joinpath("migrations")
    texts = {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in folder.iterdir()
        if file.name.endswith(".sql")
    }
    return tuple(
        Migration(name, tuple(_statements(text)), Beside.of(said_in(text))) for name, text in sorted(texts.items())
    )


def _statements(text: str) -> Iterator[LiteralString]:
    """Split a file into its statements. A statement ends with a semicolon at the end of a line."""
    for statement in _STATEMENT_END.split(text):
        if re.sub(r"--[^\n]*", "", statement).strip():
            yield cast("LiteralString", statement)


def migrate(
    database: Database,
    *,
    followers: Followers = NO_FOLLOWERS,
    known: Sequence[Migration] | None = None,
    parts: Collection[str] = PARTS,
    regardless: bool = False,
    slots: Slots = ALL_SLOTS,
    group_id: UUID | None = None,
) -> list[str]:
    """Apply the missing migrations and return their names; usually none is missing.

    Without `followers` the store is a log that nothing follows. `known` are the migrations of the program, those of an
    older one in tests; `parts` are those that it will run. `regardless` migrates beside parts of the older program
    that may not run after it. A new store becomes the partition with these `slots` of the ledger `group_id`; without
    an id it is the first partition, and its own id becomes that of the ledger.

    Raises OlderPartsAlive without `regardless`, SchemaNewer for a database made by a newer program, RoleMissing where
    roles may not be created, PostgresTooOld; then nothing has changed.
    """
    wanted = migrations() if known is None else known
    with (
        closing(database.administration.connect(application="payment-ledger migrate", owner=True)) as connection,
        connection.transaction(),
    ):
        check_version(connection)
        connection.execute(SQL["lock"], {"schema": database.schema})
        if connection.execute(SQL["schema_exists"], {"schema": database.schema}).fetchone() is None:
            connection.execute(_composed(SQL["create_schema"], database))
        applied = _begin_list(connection, wanted)
        missing = [migration for migration in wanted if migration.id not in applied]
        _refuse_newer(applied, wanted, database, parts)
        if unknown := sorted(applied.keys() - {migration.id for migration in wanted}):
            if missing:
                raise SchemaNewer(schema=database.schema, unknown=", ".join(unknown))
            return []  # the grants and the tracking are those of the newer program
        if not regardless:
            _refuse_older_parts(connection, missing)
        for migration in missing:
            _apply(connection, migration)
        _begin_store(connection, slots, group_id)
        for name, models in followers.tracked.items():
            connection.execute(SQL["begin_tracking"], {"name": name, "models": list(models)})
        _ensure_role(connection, database)
        _prepare_role(connection, database)
        grant(connection, database, followers)
        fail_point("migrate.before_commit")
    return [migration.id for migration in missing]


def _begin_store(connection: psycopg.Connection[Any], slots: Slots, group_id: UUID | None) -> None:
    """Give a new store its id, its head and its place in the ledger; one that has begun keeps its own."""
    new_id = uuid4()
    begun = connection.execute(
        SQL["begin_ledger"],
        {"ledger_id": new_id, "digest": first_seal(new_id), "first_account_id": slots.first_account_id},
    )
    if begun.rowcount and slots.count > 1:
        place = {"partition": slots.number, "partitions": slots.count, "group_id": group_id or new_id}
        connection.execute(SQL["name_partition"], place)


def missing_migrations(database: Database) -> list[Migration]:
    """Return the migrations that the database lacks, without changing anything."""
    with closing(database.administration.connect(application="payment-ledger check", owner=True)) as connection:
        applied = _applied(connection)
    return [migration for migration in migrations() if migration.id not in applied]


def check_schema(database: Database, parts: Collection[str] = PARTS) -> None:
    """Check, without changing anything, that parts of this program can use the schema that the database has.

    A store that a newer program has migrated will do where each of its migrations says so. Raises PostgresTooOld,
    SchemaMissing, SchemaOlder or SchemaNewer, and RoleMissing when the session may not use the service's role.
    """
    with closing(database.connect(application="payment-ledger check", owner=True)) as connection:
        check_version(connection)
        applied = _applied(connection)
        if not applied:
            raise SchemaMissing(schema=database.schema)
        _refuse_newer(applied, migrations(), database, parts)
        if missing := [migration.id for migration in migrations() if migration.id not in applied]:
            raise SchemaOlder(schema=database.schema, missing=", ".join(missing))
        _ensure_membership(connection, database)


def check_version(connection: psycopg.Connection[Any]) -> None:
    """Check that the server is new enough, which it tells with its greeting. Raises PostgresTooOld."""
    if (version := connection.info.server_version) < POSTGRES_MIN * _VERSION_STEP:
        found = f"{version // _VERSION_STEP}.{version % _VERSION_STEP}"
        raise PostgresTooOld(found=found, needed=str(POSTGRES_MIN))


def check_durability(database: Database) -> None:
    """Check that the server keeps its commits through a crash. Raises DatabaseNotDurable."""
    with closing(database.connect(application="payment-ledger check", owner=True)) as connection:
        if off := [name for name, _ in connection.execute(SQL["read_durability"])]:
            raise DatabaseNotDurable(off=", ".join(off))


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> None:
    for statement in migration.statements:
        fail_point("migrate.before_statement")
        connection.execute(statement)
    connection.execute(SQL["mark_applied"], {"id": migration.id, "beside": migration.beside.words})


def _begin_list(connection: psycopg.Connection[Any], known: Sequence[Migration]) -> dict[str, Beside]:
    """Return the applied migrations; create the table that lists them where it does not exist yet.

    It does not exist in a new schema, nor in one that a program before 0005 made. An older program made it without
    the words about older parts.
    """
    applied = _applied(connection)
    words = {migration.id: migration.beside.words for migration in known}
    if not _has_list(connection):
        connection.execute(SQL["make_list"])
        for migration_id in sorted(applied):
            connection.execute(SQL["mark_applied"], {"id": migration_id, "beside": words.get(migration_id)})
        for name in ("drop_former_list", "drop_former_log", "drop_former_version", "drop_former_lock"):
            connection.execute(SQL[name])
    elif connection.execute(SQL["list_has_words"]).fetchone() != (True,):
        connection.execute(SQL["add_words"])
        for migration_id in sorted(applied):
            connection.execute(SQL["note_words"], {"id": migration_id, "beside": words.get(migration_id)})
    return applied


def _applied(connection: psycopg.Connection[Any]) -> dict[str, Beside]:
    """Return the migrations that the schema has, with what they say about older parts.

    Programs before 0005 committed a migration and its mark in two transactions, so a store of theirs may have one
    without the other. For such a store, the query looks for the tables and columns that each migration made, not for
    the marks.
    """
    query = SQL["read_applied"] if _has_list(connection) else SQL["read_former_applied"]
    return {name: Beside.of(words) for name, words in connection.execute(query)}


def _has_list(connection: psycopg.Connection[Any]) -> bool:
    return connection.execute(SQL["has_list"]).fetchone() == (True,)


def _refuse_newer(
    applied: Mapping[str, Beside], known: Sequence[Migration], database: Database, parts: Collection[str]
) -> None:
    unknown = applied.keys() - {migration.id for migration in known}
    if barring := [(name, applied[name]) for name in sorted(unknown) if applied[name].bars(parts)]:
        raise SchemaNewer(schema=database.schema, unknown=in_words(barring))


def _refuse_older_parts(connection: psycopg.Connection[Any], missing: Sequence[Migration]) -> None:
    """Refuse to migrate beside parts that may not run afterwards. An API leaves no heartbeat, so it is not found.

    This program starts no part on a schema that lacks a migration, so the parts that are alive are older.
    """
    if not missing or connection.execute(SQL["has_heartbeats"]).fetchone() != (True,):
        return
    rows = connection.execute(SQL["read_alive"], {"fresh": FRESH}).fetchall()
    alive = {part for part, _ in rows}
    if barring := [(each.id, each.beside) for each in missing if each.beside.bars(alive)]:
        names = ", ".join(
            f"{part} {instance}" for part, instance in rows if any(beside.bars({part}) for _, beside in barring)
        )
        raise OlderPartsAlive(alive=names, migrations=in_words(barring))


def grant(connection: psycopg.Connection[Any], database: Database, followers: Followers) -> None:
    """Grant the service's role the privileges that the service needs in the schema, and no others."""
    connection.execute(_composed(SQL["grants"], database))
    for name in followers.tables:
        connection.execute(_composed(SQL["grants_on_follower"], database, table=name))


def _ensure_role(connection: psycopg.Connection[Any], database: Database) -> None:
    parameters = {"role": database.service_role}
    try:
        with connection.transaction():
            if connection.execute(SQL["role_exists"], parameters).fetchone() is None:
                _create_role(connection, database)
            if connection.execute(SQL["may_take_role"], parameters).fetchone() != (True,):
                connection.execute(_composed(SQL["join_role"], database))
    except psycopg.errors.InsufficientPrivilege:
        raise _role_missing(connection, database) from None


def _create_role(connection: psycopg.Connection[Any], database: Database) -> None:
    try:
        with connection.transaction():
            connection.execute(_composed(SQL["create_role"], database))
    except (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation):
        # Roles belong to the whole server: a migration of an equally named schema in another database came first.
        assert connection.execute(SQL["role_exists"], {"role": database.service_role}).fetchone() is not None


def _prepare_role(connection: psycopg.Connection[Any], database: Database) -> None:
    """Let the role log in, and keep its settings with it, as other nodes of a database need it.

    An owner who may not do that leaves it: on a server of one node nothing needs it.
    """
    row = connection.execute(_composed(SQL["read_role"], database), {"role": database.service_role}).fetchone()
    assert row is not None
    may_log_in, kept = row
    # Postgres keeps some names in capitals, such as DateStyle. A change that is not necessary could meet another
    # database's migration: the role belongs to the whole server.
    has = {name.lower(): value for name, _, value in (setting.partition("=") for setting in kept)}
    to_log_in, settings = _preparing(connection, database)
    is_kept = _kept_settings(database).items() <= has.items()
    needed = [*([] if may_log_in else [to_log_in]), *([] if is_kept else settings)]
    try:
        with connection.transaction():
            for statement in needed:
                connection.execute(statement)
    except psycopg.errors.InsufficientPrivilege:
        pass


def _preparing(connection: psycopg.Connection[Any], database: Database) -> tuple[sql.Composed, Sequence[sql.Composed]]:
    """Return the statements that prepare the role: the one that lets it log in, and one for each of its settings."""
    row = connection.execute(SQL["read_database"]).fetchone()
    assert row is not None
    settings = [
        sql.SQL(SQL["keep_setting"]).format(
            role=sql.Identifier(database.service_role),
            database=sql.Identifier(row[0]),
            name=sql.Identifier(name),
            value=sql.Literal(value),
        )
        for name, value in _kept_settings(database).items()
    ]
    return _composed(SQL["let_role_log_in"], database), settings


def _kept_settings(database: Database) -> dict[str, str]:
    return database.settings(owner=True, options={**DURABLE, **BY_INDEX})


def _ensure_membership(connection: psycopg.Connection[Any], database: Database) -> None:
    parameters = {"role": database.service_role}
    if connection.execute(SQL["role_exists"], parameters).fetchone() is None or connection.execute(
        SQL["may_take_role"], parameters
    ).fetchone() != (True,):
        raise _role_missing(connection, database)


def _role_missing(connection: psycopg.Connection[Any], database: Database) -> RoleMissing:
    composed = [_composed(SQL[name], database) for name in ("create_role", "join_role")]
    to_log_in, settings = _preparing(connection, database)
    statements = [statement.as_string(connection) for statement in (*composed, to_log_in, *settings)]
    user = sql.Identifier(connection.info.user).as_string(connection)
    # Without the comments: somebody pastes this, and a line that is joined to a comment would be a part of it.
    lines = [_COMMENT.sub("", statement).strip() for statement in statements]
    return RoleMissing(sql="\n".join(lines).replace("CURRENT_USER", user))


def _composed(statement: LiteralString, database: Database, **names: str) -> sql.Composed:
    names = {"schema": database.schema, "role": database.service_role, **names}
    return sql.SQL(statement).format(**{name: sql.Identifier(value) for name, value in names.items()})


class StoreIdentity(Struct, frozen=True):
    """Which store it is: its own id, which seeds its seals, its slots, and the id that the whole ledger has."""

    ledger_id: UUID
    slots: Slots
    group_id: UUID

    def __str__(self) -> str:
        """Say it in words, for an operator."""
        return f"partition {self.slots.number} of {self.slots.count} of the ledger {self.group_id}"


def has_identity(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether a connection leads to a store. One of a program before 0005 counts as none."""
    return connection.execute(SQL["has_identity"]).fetchone() == (True,)


def read_identity(connection: psycopg.Connection[Any]) -> StoreIdentity:
    """Return which store a connection leads to. One without words about partitions is the only one of its ledger."""
    row = connection.execute(SQL["read_identity"]).fetchone()
    assert row is not None
    own, number, count, group = row
    return StoreIdentity(UUID(str(own)), Slots(number or 0, count or 1), UUID(str(group or own)))


def ledger_id(connection: psycopg.Connection[Any]) -> UUID:
    """Return the store's random id; that of a ledger with one partition is the ledger's."""
    row = connection.execute(SQL["read_ledger_id"]).fetchone()
    assert row is not None
    return UUID(str(row[0]))
