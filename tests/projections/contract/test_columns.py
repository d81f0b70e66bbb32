"""Rows become arrays, column by column, each of the kind that the column is of."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Literal

import pytest
from msgspec import Struct

from ledger.store.array_parameters import Bigints, Booleans, OptionalBigints, Timestamps, Words
from projections.contract.columns import columns

AT = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)


class Row(Struct):
    """A row with a field of each kind."""

    number: int
    perhaps: int | None
    name: str
    state: Literal["new", "failed"]
    ended_by: Literal["gateway"] | None
    at: datetime
    until: datetime | None
    closed: bool


class Price(Struct):
    """A row with a field that no array is for."""

    price: Decimal


def test_rows_become_one_array_a_column() -> None:
    """In the order of the rows."""
    rows = [
        Row(1, None, "a", "new", None, AT, None, closed=False),
        Row(2, 3, "b", "failed", "gateway", AT, AT, closed=True),
    ]

    found = columns(Row, rows)

    assert found == {
        "number": [1, 2],
        "perhaps": [None, 3],
        "name": ["a", "b"],
        "state": ["new", "failed"],
        "ended_by": [None, "gateway"],
        "at": [AT, AT],
        "until": [None, AT],
        "closed": [False, True],
    }
    kinds = [Bigints, OptionalBigints, Words, Words, Words, Timestamps, Timestamps, Booleans]
    assert [type(array) for array in found.values()] == kinds


def test_a_field_that_no_array_is_for_is_named() -> None:
    """Before any row of it is sent."""
    with pytest.raises(KeyError, match="Decimal"):
        columns(Price, [Price(Decimal(1))])
