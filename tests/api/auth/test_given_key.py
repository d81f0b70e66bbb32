"""The key in the headers of a request: the usual form is read quickly, and as every other form is."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from api.auth.access import given_key

KEY = b"pl_" + b"0123456789abcdef" + b"_" + b"f" * 48
KEYS = st.sampled_from([KEY, KEY[:-1], KEY + b"0", b"", b"pk" + KEY[2:], KEY[:-1] + b"e"])
CREDENTIALS = st.one_of(
    st.builds(
        lambda word, key: word + key, st.sampled_from([b"Bearer ", b"bearer ", b"BEARER ", b"Basic ", b""]), KEYS
    ),
    st.binary(max_size=20),
)
FIELDS = st.lists(
    st.one_of(
        st.tuples(st.just(b"authorization"), CREDENTIALS),
        st.tuples(st.just(b"x-api-key"), KEYS),
        st.tuples(st.just(b"host"), st.just(b"ledger")),
    ),
    max_size=4,
)


def of(*headers: tuple[bytes, bytes]) -> bytes | None:
    """Look for the key in a request with these header fields."""
    scope: Any = {"headers": list(headers)}
    return given_key(scope)


@given(FIELDS)
def test_a_key_is_read_as_beside_a_field_that_came_twice(fields: list[tuple[bytes, bytes]]) -> None:
    """Such a request is read field by field."""
    twice = [(b"accept", b"a"), (b"accept", b"b")]

    assert of(*fields) == of(*fields, *twice)


def test_the_usual_form_is_read() -> None:
    """One key, as a bearer's."""
    assert of((b"host", b"ledger"), (b"authorization", b"Bearer " + KEY)) == KEY
    assert of((b"authorization", b"Bearer " + KEY), (b"authorization", b"Bearer " + KEY)) == b""
