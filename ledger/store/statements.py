"""Loads SQL statements from the `.sql` files beside the modules that run them.

A statement starts at a line `-- name: the_name` and ends before the next such line. The comments right below the name
say why the statement is written this way. They stay in the text, so that the server's log shows them too.
"""

import re
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, LiteralString, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME = re.compile(r"^-- name: (?P<name>[a-z_0-9]+)\n", re.MULTILINE)


@cache
def load_statements(package: str, filename: str) -> "Mapping[str, LiteralString]":
    """Return the statements of one file by name.

    The text comes from the program and never from a client, so it may be typed as a literal.
    """
    text = files(package).joinpath(filename).read_text("utf-8")
    _, *parts = _NAME.split(text)
    statements = {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return cast("Mapping[str, LiteralString]", MappingProxyType(statements))
