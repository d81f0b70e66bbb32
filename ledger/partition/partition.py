"""A partition is a part of the ledger with a log of its own: one schema of one database, and the slots that it owns.

A user and all of the user's payments share a slot, and so a partition. Ids are made from the partition's slots, so that
a ledger can be split without a new id for anybody. Code that needs a store gets it from the list of partitions.

The schema of a ledger's only partition has the name that is configured, such as `ledger`; those of several are
`ledger_0`, `ledger_1` and so on, in one database or in several.
"""

import hashlib
from collections.abc import Collection, Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from ledger.domain.identifiers import ALL_SLOTS, Slots, slot
from ledger.store.database import Database


class Partition(Struct, frozen=True):
    """One partition: the database and schema that hold it, and its slots."""

    database: Database
    slots: Slots = ALL_SLOTS

    @property
    def number(self) -> int:
        """The partition's number, counted from 0."""
        return self.slots.number

    @property
    def schema(self) -> str:
        """The schema that holds the partition."""
        return self.database.schema


def partition_of_key(scope: str, key: str, *, count: int) -> int:
    """Return the partition, of `count`, in which an account is opened under an idempotency key.

    It follows from the key alone, so a repetition finds what the first request opened, whichever process it reaches.
    """
    digest = hashlib.sha256(f"{scope}\0{key}".encode()).digest()
    return int.from_bytes(digest[:8]) % count


class Partitions:
    """All partitions of one ledger, in the order of their numbers."""

    def __init__(self, members: Sequence[Partition], *, served: Collection[int] | None = None) -> None:
        """Take the partitions 0 to P - 1, of which each owns the slots of its number.

        `served` has the numbers of those that this process works for, by default all.
        """
        assert [member.slots for member in members] == [Slots(n, len(members)) for n in range(len(members))], members
        assert served is None or (served and {*served} <= {*range(len(members))}), served
        self._members = tuple(members)
        self.served = self._members if served is None else tuple(self._members[n] for n in sorted({*served}))

    @classmethod
    def whole(cls, database: Database) -> "Partitions":
        """Make the list of a ledger that has not been split."""
        return cls([Partition(database)])

    @classmethod
    def over(cls, databases: Sequence[Database]) -> "Partitions":
        """Make the list of a ledger with a partition in each of these, whose schemas are named after the ledger's."""
        count = len(databases)
        if count == 1:
            return cls.whole(databases[0])
        return cls(
            [Partition(replace(each, schema=f"{each.schema}_{n}"), Slots(n, count)) for n, each in enumerate(databases)]
        )

    def serving(self, numbers: Collection[int]) -> "Partitions":
        """The same ledger for a process that works for these partitions only; without a number, for all."""
        return Partitions(self._members, served=numbers or None)

    @property
    def schemas_of_others(self) -> Sequence[str]:
        """The names of schemas that the same ledger would have with another number of partitions."""
        first = self._members[0].schema
        return (f"{first}_0",) if len(self._members) == 1 else (first.removesuffix("_0"),)

    def __iter__(self) -> Iterator[Partition]:
        """All partitions, by number."""
        return iter(self._members)

    def __len__(self) -> int:
        """How many partitions the ledger has."""
        return len(self._members)

    def of(self, identifier: int) -> Partition:
        """The partition of a user or a payment, by its id."""
        return self._members[slot(identifier) % len(self._members)]

    @property
    def first(self) -> Partition:
        """The partition that also holds the tables of the whole ledger, such as the keys of its callers."""
        return self._members[0]

    @property
    def only(self) -> Partition:
        """The partition of a ledger that has one; for work that is not yet done over several."""
        assert len(self._members) == 1, "the ledger has several partitions"
        return self._members[0]
