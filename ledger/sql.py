"""Reads the statements that stand in `.sql` files beside the modules that run them.

A statement starts at a line `-- name: the_name` and goes on to the next such line. The comments right below the name
say why it is written as it is; they stay in the text, so that they can be read in the server's log too.
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
    """Give the statements of one file by their names.

    The text is the program's own and never a client's, which is why it may pass as a literal.
    """
    text = files(package).joinpath(filename).read_text("utf-8")
    _, *parts = _NAME.split(text)
    statements = {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return cast("Mapping[str, LiteralString]", MappingProxyType(statements))
