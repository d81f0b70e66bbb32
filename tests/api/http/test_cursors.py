"""Cursors are read back as they were written, and a changed cursor is refused, whichever byte was changed."""

import base64
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.errors import CursorInvalid
from api.http.cursors import (
    Filters,
    cursor_characters_max,
    read_cursor,
    read_merged_cursor,
    write_cursor,
    write_merged_cursor,
)

FILTERS: Filters = {"status": "failed", "account_id": 7, "kind": None}
LEDGER = UUID(int=7)


@given(st.lists(st.integers(0, 2**53), max_size=4), st.text(max_size=20))
def test_a_cursor_gives_back_its_keys(keys: list[int], route: str) -> None:
    """This holds for any keys."""
    cursor = write_cursor(route, FILTERS, *keys, partition=0)

    assert read_cursor(cursor, route, FILTERS, keys=len(keys), partition=0) == tuple(keys)


def test_a_cursor_of_one_partition_stays_as_it_is() -> None:
    """A client may have it from an earlier program."""
    assert write_cursor("payments", FILTERS, 1025, partition=0) == "kH52eoFEatxbMCwxMDI1XQ"


def test_the_order_of_filters_does_not_count() -> None:
    """Filters in another order are the same filters."""
    cursor = write_cursor("payments", FILTERS, 1, partition=0)

    assert read_cursor(cursor, "payments", dict(reversed(list(FILTERS.items()))), keys=1, partition=0) == (1,)


@pytest.mark.parametrize(
    ("route", "filters", "keys"),
    [
        ("transactions", FILTERS, 1),
        ("payments", {**FILTERS, "status": "success"}, 1),
        ("payments", {**FILTERS, "account_id": "7"}, 1),
        ("payments", {}, 1),
        ("payments", FILTERS, 2),
    ],
)
def test_a_cursor_belongs_to_its_list(route: str, filters: Filters, keys: int) -> None:
    """Another route, other filters or another number of keys make it invalid."""
    cursor = write_cursor("payments", FILTERS, 1, partition=0)

    with pytest.raises(CursorInvalid):
        read_cursor(cursor, route, filters, keys=keys, partition=0)


@given(st.data())
def test_a_changed_cursor_is_refused(data: st.DataObject) -> None:
    """Any character may be changed, dropped or added."""
    cursor = write_cursor("payments", FILTERS, 123_456, partition=0)
    at = data.draw(st.integers(0, len(cursor) - 1))
    new = data.draw(st.text(max_size=2))
    bent = cursor[:at] + new + cursor[at + 1 :]
    if bent == cursor:
        return

    with pytest.raises(CursorInvalid):
        read_cursor(bent, "payments", FILTERS, keys=1, partition=0)


@pytest.mark.parametrize("body", [b"[1]", b"[1.5]", b'["1"]', b"{}", b"", b"[", b"[18446744073709551616]"])
def test_a_forged_cursor_is_refused(body: bytes) -> None:
    """A cursor without the right digest is refused."""
    forged = base64.urlsafe_b64encode(bytes(8) + body).rstrip(b"=").decode()

    with pytest.raises(CursorInvalid):
        read_cursor(forged, "payments", FILTERS, keys=1, partition=0)


@pytest.mark.parametrize("key", [-1, 2**53 + 1, 2**63, 10**30])
def test_a_forged_cursor_with_keys_out_of_range_is_refused(key: int) -> None:
    """Anybody can compute the digest, so keys out of range are refused: the database could not compare them."""
    forged = write_cursor("payments", FILTERS, key, partition=0)

    with pytest.raises(CursorInvalid):
        read_cursor(forged, "payments", FILTERS, keys=1, partition=0)


@pytest.mark.parametrize("key", [0, 2**53])
def test_a_cursor_reaches_to_both_ends_of_a_list(key: int) -> None:
    """Position 0 is before all entries, and no id is above 2^53."""
    assert read_cursor(
        write_cursor("payments", FILTERS, key, partition=0), "payments", FILTERS, keys=1, partition=0
    ) == (key,)


def test_a_cursor_belongs_to_its_partition() -> None:
    """The same keys in another partition are another place."""
    cursor = write_cursor("payments", FILTERS, 7, partition=1)

    assert read_cursor(cursor, "payments", FILTERS, keys=1, partition=1) == (7,)
    with pytest.raises(CursorInvalid):
        read_cursor(cursor, "payments", FILTERS, keys=1, partition=0)


def test_a_cursor_has_one_spelling() -> None:
    """The last character has unused bits. They must be those that were written."""
    cursor = write_cursor("payments", FILTERS, 123_456, partition=0)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

    for last in alphabet.replace(cursor[-1], ""):
        with pytest.raises(CursorInvalid):
            read_cursor(cursor[:-1] + last, "payments", FILTERS, keys=1, partition=0)


@given(st.integers(0, 10).flatmap(lambda power: st.lists(st.integers(0, 2**53), min_size=2**power, max_size=2**power)))
def test_a_cursor_over_partitions_gives_back_its_places(places: list[int]) -> None:
    """This holds for any number of partitions, within the length that their number allows."""
    cursor = write_merged_cursor("payments", FILTERS, places, ledger_id=LEDGER)

    found = read_merged_cursor(cursor, "payments", FILTERS, partitions=len(places), ledger_id=LEDGER)
    assert found == tuple(places)
    assert len(cursor) <= cursor_characters_max(len(places))


@pytest.mark.parametrize(("partitions", "characters"), [(1, 200), (4, 200), (16, 200), (32, 310), (1024, 9568)])
def test_only_many_partitions_need_a_longer_cursor(partitions: int, characters: int) -> None:
    """With fewer, the bound is that of one partition."""
    assert cursor_characters_max(partitions) == characters


@given(st.data())
def test_a_changed_cursor_over_partitions_is_refused(data: st.DataObject) -> None:
    """Any character may be changed, dropped or added. Cursors of other ledgers and lists are refused too."""
    cursor = write_merged_cursor("payments", FILTERS, [5, 0, 2**53, 7], ledger_id=LEDGER)
    at = data.draw(st.integers(0, len(cursor) - 1))
    bent = cursor[:at] + data.draw(st.text(max_size=2)) + cursor[at + 1 :]

    for text, route, partitions, ledger_id in (
        *([] if bent == cursor else [(bent, "payments", 4, LEDGER)]),
        (cursor, "transactions", 4, LEDGER),
        (cursor, "payments", 2, LEDGER),
        (cursor, "payments", 4, UUID(int=8)),
        (write_cursor("payments", FILTERS, 7, partition=0), "payments", 4, LEDGER),
        (write_merged_cursor("payments", FILTERS, [2**53 + 1] * 4, ledger_id=LEDGER), "payments", 4, LEDGER),
    ):
        with pytest.raises(CursorInvalid):
            read_merged_cursor(text, route, FILTERS, partitions=partitions, ledger_id=ledger_id)
