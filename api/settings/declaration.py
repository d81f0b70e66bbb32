"""How a setting is declared: one row says its name, what it takes, its default, and what it means.

A row stands in the class `Settings` as the default of the field that holds the setting's value, so the field's type is
checked against the parser's. `rows_of` gives the rows of such a class in order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, TypeVar, overload

from api.settings.parsers import Parser

MASK: Final = "***"

T = TypeVar("T")

_METADATA: Final = "setting"


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A row of the table of settings.

    `default` is a text, as somebody would write it; None means that the setting is unset by default, or, for a name
    of `serve_default`, that the command decides. `doc` is one paragraph of Markdown. `unit` is what a number counts.
    `secret` hides the value: a URL is shown without its password, anything else not at all. `compose` says whether the
    parts get the value under `docker compose`, which sets the others by itself. `heading` opens a new group of rows.
    """

    name: str
    parser: Parser[Any]
    default: str | None
    doc: str
    unit: str = ""
    secret: bool = False
    compose: bool = True
    heading: str | None = None
    serve_default: str | None = None

    def default_under(self, command: str | None) -> str | None:
        """Give the default that counts for a command."""
        return self.serve_default if command == "serve" and self.serve_default is not None else self.default


@dataclass(frozen=True, kw_only=True)
class OldName:
    """A name that settings had in earlier versions and that is still read.

    `becomes` gives a text for each setting that the old name stands for, None for the old name's own value. When the
    first of these settings is given, the old name has no effect; else it takes precedence over the others.
    """

    name: str
    becomes: Mapping[str, str | None]
    doc: str


@overload
def setting(
    name: str,
    parser: Parser[T],
    default: str,
    doc: str,
    *,
    unit: str = ...,
    secret: bool = ...,
    compose: bool = ...,
    heading: str | None = ...,
    serve_default: str | None = ...,
) -> T: ...
@overload
def setting(
    name: str,
    parser: Parser[T],
    default: None,
    doc: str,
    *,
    unit: str = ...,
    secret: bool = ...,
    compose: bool = ...,
    heading: str | None = ...,
) -> T | None: ...
def setting(name: str, parser: Parser[Any], default: str | None, doc: str, **more: Any) -> Any:
    """Declare a setting, as the right-hand side of a dataclass field that has no default of its own."""
    row = Setting(name=name, parser=parser, default=default, doc=doc, **more)
    return field(repr=not row.secret, metadata={_METADATA: row})


def rows_of(declared: type[Any]) -> dict[str, Setting]:
    """Give the rows of a class of settings by the names of its fields."""
    return {each.name: each.metadata[_METADATA] for each in fields(declared)}
