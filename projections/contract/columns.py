"""Turns rows into the parameters of the statements that store them: one array for each column, of the column's kind."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Struct

from ledger.store.array_parameters import Bigints, Booleans, OptionalBigints, Timestamps, Words

_KINDS: Final[Mapping[frozenset[type], type[list[Any]]]] = {
    frozenset({int}): Bigints,
    frozenset({int, NoneType}): OptionalBigints,
    frozenset({str}): Words,
    frozenset({str, NoneType}): Words,
    frozenset({datetime}): Timestamps,
    frozenset({datetime, NoneType}): Timestamps,
    frozenset({bool}): Booleans,
}


def columns(row_type: type[Struct], rows: Iterable[Struct]) -> dict[str, list[Any]]:
    """Turn rows into one array for each column, as the statements take them.

    Raises KeyError for a row type with a field of a kind that no array is for.
    """
    kinds = _kinds(row_type)
    arrays = zip(*map(msgspec.structs.astuple, rows), strict=True)
    return {name: kind(array) for (name, kind), array in zip(kinds.items(), arrays, strict=True)}


@cache
def _kinds(row_type: type[Struct]) -> dict[str, type[list[Any]]]:
    """The kind of array for each field, in the order of the fields."""
    hints = get_type_hints(row_type)
    return {name: _KINDS[frozenset(_types(hints[name]))] for name in row_type.__struct_fields__}


def _types(hint: Any) -> Iterable[type]:  # noqa: ANN401 - an annotation may be anything
    """The types of the values that an annotation allows."""
    if get_origin(hint) is Literal:
        return [type(value) for value in get_args(hint)]
    if get_origin(hint) in {Union, UnionType}:
        return [each for part in get_args(hint) for each in _types(part)]
    return [hint]
