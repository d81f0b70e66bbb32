"""Checkpoints of a whole ledger: the head of each partition, and one digest over them, for an auditor to keep.

A checkpoint is a line for each partition, in order: the id of its store, its number, its last position and the seal
there. Its digest is the SHA-256 of these lines, each with its line end, as `sha256sum` would say. The lines and the
digest, or the same as JSON, are a file that `audit verify --expect-checkpoint` takes. The heads are read one after the
other, so they are not of one moment; each of them stays true as long as its log is not changed.
"""

import hashlib
import re
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from msgspec import Struct

from ledger.audit.verify import ExpectedHead, read_head
from ledger.partition.partition import Partition, Partitions
from ledger.store.migrate import read_identity

BYTES_MAX: Final = 1024 * 1024
"""A checkpoint of 1,024 partitions has a tenth of that."""

_LINE: Final = re.compile(r"([0-9a-f-]{36}) ([0-9]{1,4}) ([0-9]{1,18}) ([0-9a-f]{64})")
_DIGEST_LINE: Final = re.compile(r"digest ([0-9a-f]{64})")


class CheckpointUnfit(Exception):
    """A checkpoint that cannot be compared with a ledger; the text says why."""


class PartitionHead(Struct, frozen=True, kw_only=True):
    """The last position of a partition and the seal there, in hex; `ledger_id` is the id of its store."""

    ledger_id: UUID
    partition: int
    position: int
    digest: str

    @property
    def line(self) -> str:
        """The line of the checkpoint."""
        return f"{self.ledger_id} {self.partition} {self.position} {self.digest}\n"


class Checkpoint(Struct, frozen=True, kw_only=True):
    """The heads of all partitions in order, and the digest over them, in hex."""

    partitions: list[PartitionHead]
    digest: str

    @property
    def text(self) -> str:
        """The checkpoint for people, and for `audit verify --expect-checkpoint`."""
        return "".join(head.line for head in self.partitions) + f"digest {self.digest}\n"

    def head_of(self, partition: Partition) -> ExpectedHead:
        """Return the position and the seal that a partition must have. Raises CheckpointUnfit."""
        noted = self.partitions[partition.number]
        with closing(partition.database.connect(application="payment-ledger audit")) as connection:
            found = read_identity(connection)
        if found.ledger_id != noted.ledger_id:
            raise CheckpointUnfit(
                f"The checkpoint is of store {noted.ledger_id} in partition {partition.number}, where store"
                f" {found.ledger_id} is now."
            )
        return ExpectedHead(noted.position, noted.digest)


def read_checkpoint(partitions: Partitions) -> Checkpoint:
    """Read the heads of all partitions. Raises LogBroken, psycopg.Error."""
    return checkpoint_of([_read_head(partition) for partition in partitions])


def checkpoint_of(heads: Sequence[PartitionHead]) -> Checkpoint:
    """Make the checkpoint of these heads, which are those of all partitions in order."""
    return Checkpoint(partitions=[*heads], digest=digest_of(heads))


def digest_of(heads: Sequence[PartitionHead]) -> str:
    """Return the digest over heads, in hex."""
    return hashlib.sha256("".join(head.line for head in heads).encode()).hexdigest()


def parse_checkpoint(file: Path, *, count: int) -> Checkpoint:
    """Read a file that has a checkpoint of a ledger with `count` partitions. Raises CheckpointUnfit, OSError."""
    with file.open("rb") as opened:
        content = opened.read(BYTES_MAX + 1)
    noted = _from_json(content) if content.lstrip().startswith(b"{") else _from_text(content)
    if noted is None or len(content) > BYTES_MAX:
        raise CheckpointUnfit(f"{file} is not a checkpoint, as `payment-ledger audit checkpoint` prints them.")
    if noted.digest != digest_of(noted.partitions):
        raise CheckpointUnfit(f"{file} was changed: its digest is not that of its lines.")
    if len(noted.partitions) != count:
        raise CheckpointUnfit(
            f"The checkpoint is of a ledger with {len(noted.partitions)} partitions, and this one has {count}."
        )
    return noted


def _read_head(partition: Partition) -> PartitionHead:
    with closing(partition.database.connect(application="payment-ledger audit")) as connection:
        identity, head = read_identity(connection), read_head(connection)
    return PartitionHead(
        ledger_id=identity.ledger_id,
        partition=partition.number,
        position=head.position,
        digest=head.digest.hex(),
    )


def _from_json(content: bytes) -> Checkpoint | None:
    try:
        noted = msgspec.json.decode(content, type=Checkpoint)
    except msgspec.MsgspecError:
        return None
    return noted if _in_order(noted.partitions) else None


def _from_text(content: bytes) -> Checkpoint | None:
    *lines, last = content.decode("ascii", errors="replace").split("\n")[:-1] or [""]
    found = [_LINE.fullmatch(line) for line in lines]
    digest = _DIGEST_LINE.fullmatch(last)
    if digest is None or None in found:
        return None
    try:
        heads = [
            PartitionHead(ledger_id=UUID(line[1]), partition=int(line[2]), position=int(line[3]), digest=line[4])
            for line in found
            if line is not None
        ]
    except ValueError:
        return None
    return Checkpoint(partitions=heads, digest=digest[1]) if _in_order(heads) else None


def _in_order(heads: Sequence[PartitionHead]) -> bool:
    return len(heads) > 0 and [head.partition for head in heads] == [*range(len(heads))]
