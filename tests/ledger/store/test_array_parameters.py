"""Arrays as parameters: the server reads exactly the values that were sent, whatever they contain."""

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from ledger.store.array_parameters import (
    Bigints,
    Booleans,
    Byteas,
    OptionalBigints,
    Texts,
    Timestamps,
    Words,
)
from ledger.store.database import Database

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
TIME = st.datetimes(timezones=st.timezones())
TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

TIMES = [
    datetime(2026, 11, 23, 9, 30, 0, 1, tzinfo=UTC),
    datetime(2000, 1, 1, tzinfo=UTC),
    datetime(1999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(1, 1, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
]
LISTS = [
    ("bigint[]", Bigints([])),
    ("bigint[]", Bigints([0, 1, -1, 2**31, -(2**63), 2**63 - 1])),
    ("bigint[]", OptionalBigints([])),
    ("bigint[]", OptionalBigints([None, 0, None, -(2**63), 2**63 - 1])),
    ("timestamp with time zone[]", Timestamps([])),
    ("timestamp with time zone[]", Timestamps([None, *TIMES, None])),
    ("boolean[]", Booleans([])),
    ("boolean[]", Booleans([True, False, True])),
    ("text[]", Words([])),
    ("text[]", Words(["a", None, "", "a", None, "NULL", "\u00e9\u4e2d\U0001f4b6"])),
    ("text[]", Texts([])),
    ("text[]", Texts(["", "a", "NULL", '{"a","b"}', "payment-1", "\u00e9\u4e2d\U0001f4b6", "x" * 70_000])),
    ("text[]", Words(["a", None, "", None, "NULL"])),
    ("text[]", Words([None])),
    ("bytea[]", Byteas([])),
    ("bytea[]", Byteas([b"", b"\x00", bytes(range(256)), b"\\x00", b"x" * 70_000])),
]


@pytest.mark.parametrize(("kind", "elements"), LISTS)
def test_the_server_reads_what_was_sent(
    database: Database, kind: str, elements: Sequence[int | None] | Sequence[str | None] | Sequence[bytes]
) -> None:
    """Elements and their order are the same."""
    with database.connect(application="test") as connection:
        row = connection.execute("SELECT %s, pg_typeof(%s)::text", (elements, elements)).fetchone()

    assert row == (list(elements), kind)


@given(st.one_of(st.lists(INT64, min_size=1).map(Bigints), st.lists(TEXT, min_size=1).map(Texts),
                 st.lists(st.none() | TEXT, min_size=1).map(lambda some: Words(["", *some])),
                 st.lists(st.none() | INT64, min_size=1).map(lambda some: OptionalBigints([2**40, *some])),
                 st.lists(st.booleans(), min_size=1).map(Booleans),
                 st.lists(st.none() | TIME, min_size=1).map(lambda some: Timestamps([TIMES[0], *some])),
                 st.lists(st.binary(), min_size=1).map(Byteas)))  # fmt: skip
def test_the_bytes_are_those_of_psycopg(elements: list[int] | list[str | None] | list[bytes]) -> None:
    """Building them with psycopg takes longer, and small numbers have a smaller type unless a large one is there."""
    if isinstance(elements, Bigints):
        elements = Bigints([2**40, *elements])

    assert _dumped(elements) == _dumped(list(elements))


@pytest.mark.parametrize("numbers", [[2**63], [-(2**63) - 1]])
def test_a_number_that_does_not_fit_is_not_cut(numbers: list[int]) -> None:
    """The number is refused, so no amount becomes another one."""
    with pytest.raises(struct.error, match="too large"):
        _dumped(Bigints(numbers))


def test_the_server_refuses_nul(database: Database) -> None:
    """The error counts as a fault in the data, so the writer refuses only the command that caused it."""
    with database.connect(application="test") as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s", (Texts(["a\0b"]),))


def _dumped(elements: object) -> object:
    return Transformer().dump_sequence([elements], [PyFormat.BINARY])[0]
