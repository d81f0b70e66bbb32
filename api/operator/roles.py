"""The three roles of a ledger's database: owner, service with a login of its own, and auditor who only reads.

The owner makes and changes tables. The service needs no more than to append, and as long as it logs in as the owner, a
`SET ROLE NONE` gives its session everything back. So a server that others can reach gives it a login of its own.
"""

import re
from contextlib import closing
from typing import Final

from psycopg import sql

from ledger.store.database import Database
from ledger.store.migrate import SQL as MIGRATE
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.operator", "roles.sql")

_COMMENT: Final = re.compile(r"^[ \t]*--[^\n]*\n?", re.MULTILINE)


def roles_sql(database: Database) -> str:
    """Return the SQL that the schema's owner, or a superuser, runs after `migrate`. It can be run once more.

    It gives no passwords, because statements are written to the server's log. Raises psycopg.Error when the server
    cannot be reached.
    """
    auditor = f"{database.schema}_auditor"
    names = {"schema": database.schema, "service": database.service_role, "auditor": auditor}
    with closing(database.administration.connect(application="payment-ledger roles", owner=True)) as connection:
        is_there = connection.execute(MIGRATE["role_exists"], {"role": auditor}).fetchone()
        wanted = ["service_login", *([] if is_there is not None else ["create_auditor"]), "auditor"]
        composed = [
            sql.SQL(SQL[name]).format(**{key: sql.Identifier(value) for key, value in names.items()}) for name in wanted
        ]
        return "\n".join(_COMMENT.sub("", statement.as_string(connection)).strip() for statement in composed)
