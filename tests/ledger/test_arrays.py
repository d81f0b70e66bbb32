"""Arrays as parameters: the server has to read what was meant, whatever stands in them."""

import struct
from collections.abc import Sequence

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import PyFormat, Transformer

from ledger.arrays import Bigints, Byteas, OptionalTexts, Texts
from ledger.database import Database

INT64 = st.integers(min_value=-(2**63), max_value=2**63 - 1)
TEXT = st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"]))

LISTS = [
    ("bigint[]", Bigints([])),
    ("bigint[]", Bigints([0, 1, -1, 2**31, -(2**63), 2**63 - 1])),
    ("text[]", Texts([])),
    ("text[]", Texts(["", "a", "NULL", '{"a","b"}', "payment-1", "\u00e9\u4e2d\U0001f4b6", "x" * 70_000])),
    ("text[]", OptionalTexts([])),
    ("text[]", OptionalTexts(["a", None, "", None, "NULL"])),
    ("text[]", OptionalTexts([None])),
    ("bytea[]", Byteas([])),
    ("bytea[]", Byteas([b"", b"\x00", bytes(range(256)), b"\\x00", b"x" * 70_000])),
]


@pytest.mark.parametrize(("kind", "elements"), LISTS)
def test_the_server_reads_what_was_sent(
    database: Database, kind: str, elements: Sequence[int] | Sequence[str | None] | Sequence[bytes]
) -> None:
    """Element by element and in order."""
    with database.connect(application="test") as connection:
        row = connection.execute("SELECT %s, pg_typeof(%s)::text", (elements, elements)).fetchone()

    assert row == (list(elements), kind)


@given(st.one_of(st.lists(INT64, min_size=1).map(Bigints), st.lists(TEXT, min_size=1).map(Texts),
                 st.lists(st.none() | TEXT, min_size=1).map(lambda some: OptionalTexts(["", *some])),
                 st.lists(st.binary(), min_size=1).map(Byteas)))  # fmt: skip
def test_the_bytes_are_those_of_psycopg(elements: list[int] | list[str | None] | list[bytes]) -> None:
    """It has the longer way to them, and sends small numbers as a smaller type unless a large one is among them."""
    if isinstance(elements, Bigints):
        elements = Bigints([2**40, *elements])

    assert _dumped(elements) == _dumped(list(elements))


@pytest.mark.parametrize("numbers", [[2**63], [-(2**63) - 1]])
def test_a_number_that_does_not_fit_is_not_cut(numbers: list[int]) -> None:
    """No amount becomes another one on its way."""
    with pytest.raises(struct.error, match="too large"):
        _dumped(Bigints(numbers))


def test_the_server_refuses_nul(database: Database) -> None:
    """With an error that the writer takes for a fault of the data, so that only the guilty command is refused."""
    with database.connect(application="test") as connection, pytest.raises(psycopg.DataError):
        connection.execute("SELECT %s", (Texts(["a\0b"]),))


def _dumped(elements: object) -> object:
    return Transformer().dump_sequence([elements], [PyFormat.BINARY])[0]
