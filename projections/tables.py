"""How the read models' statements find their tables.

The projector writes to the tables that clients read, a rebuild to new ones beside them, of the same names with
`_rebuilt` behind; so the statements have `{payment_status}` where a table's name goes.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any, Final, LiteralString

import msgspec
from msgspec import Struct
from psycopg import sql

LIVE: Final = ""
REBUILT: Final = "_rebuilt"

TABLES: Final = ("payment_status", "account_balance", "journal", "dead_letter", "counters")


def table(name: str, suffix: str) -> sql.Identifier:
    """Name one of the tables, the live or the rebuilt one."""
    return sql.Identifier(name + suffix)


@cache
def aimed(statement: LiteralString, suffix: str) -> LiteralString:
    """Put the names of the live or the rebuilt tables into a statement."""
    names = {name: table(name, suffix) for name in TABLES}
    return sql.SQL(statement).format(**names).as_string()


def columns(row_type: type[Struct], rows: Iterable[Struct]) -> dict[str, Any]:
    """Turn rows into one array for each column, as the statements take them."""
    fields = row_type.__struct_fields__
    arrays = zip(*map(msgspec.structs.astuple, rows), strict=True)
    return {name: list(array) for name, array in zip(fields, arrays, strict=True)}
