"""The seal of an event: a digest that chains it to all events before it.

    seal(0) = SHA-256(the ledger's random id, 16 bytes)
    seal(n) = SHA-256(seal(n - 1)
                      || position            8 bytes
                      || originator_version  8 bytes
                      || length of originator_id, topic and state in bytes, 4 bytes each
                      || originator_id in UTF-8 || topic in UTF-8 || state)

Numbers are big-endian; position and version are signed, lengths unsigned. The lengths make the encoding unambiguous: no
two different rows give the same bytes. Anyone who can read the `events` table can recompute every seal with these
lines.
"""

import struct
from collections.abc import Iterable
from hashlib import sha256
from typing import Final
from uuid import UUID

_HEADER: Final = struct.Struct(">32sqqIII")


def first_seal(ledger_id: UUID) -> bytes:
    """Return the 32-byte seal before position 1, which is made from the ledger's random id."""
    return sha256(ledger_id.bytes).digest()


def seal(
    before: bytes, *, position: int, originator_id: str, originator_version: int, topic: str, state: bytes
) -> bytes:
    """Return the 32-byte seal of one event, made from the previous seal and all other columns of the event's row."""
    stream, subject = originator_id.encode(), topic.encode()
    header = _HEADER.pack(before, position, originator_version, len(stream), len(subject), len(state))
    return sha256(header + stream + subject + state).digest()


def seal_rows(before: bytes, position: int, rows: Iterable[tuple[str, int, str, bytes]]) -> list[bytes]:
    """Seal consecutive rows (originator_id, originator_version, topic, state); the first is at `position` + 1."""
    seals = []
    for originator_id, originator_version, topic, state in rows:
        position += 1
        before = seal(
            before,
            position=position,
            originator_id=originator_id,
            originator_version=originator_version,
            topic=topic,
            state=state,
        )
        seals.append(before)
    return seals
