"""How the read models' statements find their tables.

The projector writes to the tables that clients read, a rebuild to new ones beside them, of the same names with
`_rebuilt` behind; so the statements have `{payment_status}` where the name of a read model's table goes.
"""

from functools import cache
from string import Formatter
from typing import Final, LiteralString

from psycopg import sql

LIVE: Final = ""
REBUILT: Final = "_rebuilt"


def table(name: str, suffix: str) -> sql.Identifier:
    """Name one of the tables, the live or the rebuilt one."""
    return sql.Identifier(name + suffix)


@cache
def aimed(statement: LiteralString, suffix: str) -> LiteralString:
    """Put the names of the live or the rebuilt tables into a statement."""
    names = {name: table(name, suffix) for _, name, _, _ in Formatter().parse(statement) if name is not None}
    return sql.SQL(statement).format(**names).as_string()
