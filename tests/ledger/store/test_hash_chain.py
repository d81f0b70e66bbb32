"""The seal: an independent implementation computes the same one, and any changed byte changes it."""

import hashlib
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.store.hash_chain import first_seal, seal, seal_rows

LEDGER_ID = UUID("00112233-4455-6677-8899-aabbccddeeff")
EventRow = tuple[str, int, str, bytes]

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
VERSIONS = st.integers(-(2**63), 2**63 - 1)
ROWS = st.tuples(NAMES, VERSIONS, NAMES, st.binary(max_size=60))
DIGESTS = st.binary(min_size=32, max_size=32)


def signed(number: int) -> bytes:
    """Encode a number in eight bytes, big-endian."""
    return number.to_bytes(8, "big", signed=True)


def length(content: bytes) -> bytes:
    """Encode a text's length in bytes in four bytes."""
    return len(content).to_bytes(4, "big")


def recompute(before: bytes, position: int, row: EventRow) -> bytes:
    """Compute the seal as the documentation describes it, without the program's code."""
    originator_id, version, topic, state = row
    stream, subject = originator_id.encode("utf-8"), topic.encode("utf-8")
    content = before + signed(position) + signed(version)
    content += length(stream) + length(subject) + length(state) + stream + subject + state
    return hashlib.sha256(content).digest()


def sealed(before: bytes, position: int, row: EventRow) -> bytes:
    """Compute the seal of a row with the program's code."""
    originator_id, version, topic, state = row
    return seal(
        before, position=position, originator_id=originator_id, originator_version=version, topic=topic, state=state
    )


def test_the_chain_begins_with_the_ledgers_random_id() -> None:
    """The seal before position 1 is the digest of its sixteen bytes."""
    expected = hashlib.sha256(bytes.fromhex("00112233445566778899aabbccddeeff")).digest()

    assert expected == first_seal(LEDGER_ID)


def test_seals_do_not_change_from_release_to_release() -> None:
    """The seals of three rows are fixed here. A change would break every existing ledger."""
    rows: list[EventRow] = [
        ("account-1", 1, "account.opened", b'{"at":"2026-11-23T00:00:00Z"}'),
        ("payment-1", 1, "payment.requested", b"{}"),
        ("payment-1", 2, "", "é".encode()),
    ]

    seals = seal_rows(first_seal(LEDGER_ID), 0, rows)

    assert [digest.hex() for digest in seals] == [
        "3c0022bb72fa063fbecda348bf8ae0c800f51f1e37d8bdd6bfabc4e570498cbd",
        "a3130a6f3cda1632bb2ef29cda1518a297238bafe6803277eefe49aefcf87681",
        "fd3d0f9b71d37d9eba0635993fa380f810209e80a71e6d696022ac29ec3fd2e2",
    ]


@given(before=DIGESTS, position=VERSIONS, row=ROWS)
def test_every_seal_can_be_computed_from_the_description(before: bytes, position: int, row: EventRow) -> None:
    """This holds for any bytes, and for the versions that the library's own tests use."""
    assert recompute(before, position, row) == sealed(before, position, row)


@given(before=DIGESTS, position=st.integers(0, 2**62), rows=st.lists(ROWS, max_size=6))
def test_rows_are_sealed_one_to_the_other(before: bytes, position: int, rows: list[EventRow]) -> None:
    """Each row is sealed with the seal before it and the next position. No rows give no seals."""
    expected = []
    digest = before
    for place, row in enumerate(rows, start=position + 1):
        digest = recompute(digest, place, row)
        expected.append(digest)

    assert expected == seal_rows(before, position, rows)


@given(before=DIGESTS, position=VERSIONS, row=ROWS, other=ROWS)
def test_two_different_rows_never_have_the_same_seal(
    before: bytes, position: int, row: EventRow, other: EventRow
) -> None:
    """The same row also has different seals at two positions."""
    assert (row == other) == (sealed(before, position, row) == sealed(before, position, other))
    assert sealed(before, position, row) != sealed(before, position ^ 1, row)


@given(before=DIGESTS, content=st.text("ab", max_size=8), first=st.integers(0, 8), second=st.integers(0, 8))
def test_a_character_moved_to_the_next_column_changes_the_seal(
    before: bytes, content: str, first: int, second: int
) -> None:
    """The length of each column is sealed too, so characters moved to the next column make another row."""
    first, second = sorted((first, second))
    row = (content[:first], 1, content[first:second], content[second:].encode())
    whole = (content, 1, "", b"")
    assume(row != whole)

    assert sealed(before, 1, row) != sealed(before, 1, whole)


@given(before=DIGESTS, row=ROWS, place=st.integers(0, 31), bit=st.integers(0, 7))
def test_any_changed_bit_of_the_seal_before_changes_the_seal(
    before: bytes, row: EventRow, place: int, bit: int
) -> None:
    """This chains an event to all events before it."""
    bent = bytearray(before)
    bent[place] ^= 1 << bit

    assert sealed(before, 1, row) != sealed(bytes(bent), 1, row)


@given(row=ROWS, data=st.data())
def test_any_changed_bit_of_the_state_changes_the_seal(row: EventRow, data: st.DataObject) -> None:
    """Every stored byte counts."""
    assume(row[3])
    bent = bytearray(row[3])
    bent[data.draw(st.integers(0, len(bent) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    assert sealed(b"\0" * 32, 1, row) != sealed(b"\0" * 32, 1, (*row[:3], bytes(bent)))


@pytest.mark.parametrize(
    "changed",
    [
        ("payment-2", 2, "payment.failed", b"{}"),
        ("payment-1", 3, "payment.failed", b"{}"),
        ("payment-1", -2, "payment.failed", b"{}"),
        ("payment-1", 2, "payment.succeeded", b"{}"),
        ("payment-1", 2, "payment.failed", b"{ }"),
        ("payment-1", 2, "payment.failed", b""),
    ],
)
def test_each_column_counts(changed: EventRow) -> None:
    """A change of stream, version, topic or state changes the seal."""
    row = ("payment-1", 2, "payment.failed", b"{}")

    assert sealed(b"\0" * 32, 5, row) != sealed(b"\0" * 32, 5, changed)


def test_swapped_or_missing_rows_change_the_chain() -> None:
    """The last seal depends on all rows and their order."""
    rows: list[EventRow] = [(f"payment-{n}", 1, "payment.requested", b"{}") for n in (1, 2, 3)]

    last = seal_rows(b"\0" * 32, 0, rows)[-1]

    assert last != seal_rows(b"\0" * 32, 0, [rows[1], rows[0], rows[2]])[-1]
    assert last != seal_rows(b"\0" * 32, 0, rows[1:])[-1]
    assert last != seal_rows(b"\0" * 32, 1, rows)[-1]
