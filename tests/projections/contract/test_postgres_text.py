"""Text from outside, made fit for a column."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projections.contract.postgres_text import LINE_LENGTH_MAX, one_line, storable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("", ""),
        ("timeout", "timeout"),
        ("zażółć \N{MONEY BAG}", "zażółć \N{MONEY BAG}"),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"),
        ("\0ż", "\N{REPLACEMENT CHARACTER}ż"),
        ("a\ud800b", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\udc00", "a\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_only_what_cannot_be_stored_is_replaced(text: str | None, expected: str | None) -> None:
    """NUL and lone surrogates; a pair of surrogates, which is a character, is read as it."""
    assert expected == storable(text)


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_whatever_comes_in_can_be_stored(text: str) -> None:
    """It is UTF-8 without NUL, and making it fit twice is making it fit once."""
    stored = storable(text)

    assert b"\0" not in stored.encode()
    assert stored == storable(stored)


def test_an_exception_is_told_in_one_line() -> None:
    """With its class, as the message alone may be empty, and no longer than anybody wants to read."""
    assert (
        one_line(ValueError("a\n  b\0c\ud800")) == "ValueError: a b\N{REPLACEMENT CHARACTER}c\N{REPLACEMENT CHARACTER}"
    )
    assert len(one_line(ValueError("x" * 5000))) == LINE_LENGTH_MAX
