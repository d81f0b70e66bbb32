"""Says in the words of HTTP and JSON why a value is refused: "expected an integer, got a string".

msgspec describes a wrong value in the words of Python. Each of its sentences has a row here. A sentence without a row
becomes a general one, so that no client reads the words of a library.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Annotated, Any, Final, Literal, get_args, get_origin

_WANTED: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "an array",
    "object": "an object",
}
"""A type that was expected, by msgspec's word for it."""

_GOT: Final = _WANTED | {"float": "a number that is not an integer", "bool": "a boolean"}
"""A type that was sent, by msgspec's word for it."""

_BOUNDS: Final = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than", "==": "exactly"}
_UNITS: Final = {"str": "characters", "array": "items", "object": "fields"}

GENERAL: Final = "has a value that cannot be accepted"
"""The message where no other one fits."""


def plain(message: str, *, values: Iterable[object] = (), in_address: bool = False) -> str:
    """Say msgspec's sentence about a value in the words of JSON.

    `values` are those that the field may have, if they are listed. A value in the address is always text, so its type
    says nothing, and it cannot be null.
    """
    for pattern, say in _ROWS:
        found = pattern.fullmatch(message)
        if found is not None:
            said = say(found, tuple(values))
            return said.partition(", got ")[0].replace(" or null", "") if in_address else said
    return GENERAL


def values_of(annotation: Any) -> Iterator[object]:  # noqa: ANN401 - an annotation may be anything
    """Find the values that a type lists: those of its literals."""
    if get_origin(annotation) is Literal:
        yield from get_args(annotation)
    elif get_origin(annotation) is Annotated:
        yield from values_of(get_args(annotation)[0])
    else:
        for part in get_args(annotation):
            yield from values_of(part)


def _type(found: re.Match[str], _: tuple[object, ...]) -> str:
    wanted = " or ".join(_WANTED.get(name, "another value") for name in found["wanted"].split(" | "))
    return f"expected {wanted}, got {_GOT.get(found['got'], 'another value')}"


def _bound(found: re.Match[str], _: tuple[object, ...]) -> str:
    return f"must be {_BOUNDS[found['bound']]} {found['limit'].removesuffix('.0')}"


def _length(found: re.Match[str], _: tuple[object, ...]) -> str:
    unit = _UNITS.get(found["type"], "characters")
    return f"must have {_BOUNDS[found['bound']]} {found['limit']} {unit if found['limit'] != '1' else unit[:-1]}"


def _value(_: re.Match[str], values: tuple[object, ...]) -> str:
    return f"must be one of {', '.join(f'`{value}`' for value in values)}" if values else GENERAL


_Say = Callable[[re.Match[str], tuple[object, ...]], str]

_ROWS: Final[tuple[tuple[re.Pattern[str], _Say], ...]] = (
    (re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<got>[^`]+)`"), _type),
    (re.compile(r"Expected `[^`]+` (?P<bound>[<>]=?) (?P<limit>\S+)"), _bound),
    (re.compile(r"Expected `(?P<type>[^`]+)` of length (?P<bound>[<>=]=?) (?P<limit>\d+)"), _length),
    (
        re.compile(r"Expected `[^`]+` matching regex .*", re.DOTALL),
        lambda *_: "must be a text that is not blank and contains no NUL",
    ),
    (re.compile(r"Invalid enum value .*", re.DOTALL), _value),
    (re.compile(r"(?:Integer value|Number) out of range"), lambda *_: "is a number out of range"),
)
"""How to say each sentence of msgspec; the first row whose pattern matches applies."""
