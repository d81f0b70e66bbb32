"""Checks that each store is the partition that the settings take it for, before anything is read from it or written.

A start with another number of partitions would look for each user in a store of other users, and give ids twice.
"""

from contextlib import closing
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from msgspec.structs import replace

from ledger.errors import StoreBroken
from ledger.partition.partition import Partition, Partitions
from ledger.store.database import Database
from ledger.store.migrate import StoreIdentity, has_identity, read_identity

_APPLICATION: Final = "payment-ledger check"


@dataclass(eq=False, kw_only=True)
class PartitionsDiffer(StoreBroken):
    """The schema is not the partition that the settings say; LEDGER_PARTITIONS must be what the ledger has."""

    code = "partitions_differ"
    schema: str
    found: str
    wanted: str


def check_identities(partitions: Partitions) -> UUID:
    """Check that the stores are the partitions of one ledger, in their order, and return its id.

    All of them have all migrations. Raises PartitionsDiffer.
    """
    group_id = None
    for partition in partitions:
        with closing(partition.database.connect(application=_APPLICATION, owner=True)) as connection:
            found = read_identity(connection)
        group_id = group_id or found.group_id
        _compare(partition, found, StoreIdentity(found.ledger_id, partition.slots, group_id))
    assert group_id is not None, "a ledger has a partition"
    return group_id


def check_before_new(partition: Partition, partitions: Partitions) -> None:
    """Refuse to make a new store where the ledger is with another number of partitions. Raises PartitionsDiffer."""
    if _found(partition.database) is not None:
        return
    for schema in partitions.schemas_of_others:
        found = _found(replace(partition.database.administration, schema=schema))
        if found is not None:
            wanted = f"partition {partition.number} of {len(partitions)} of a new ledger"
            raise PartitionsDiffer(schema=schema, found=str(found), wanted=wanted)


def group_of(partitions: Partitions) -> UUID | None:
    """Return the id of the ledger, which its first partition has; None before the ledger is made."""
    found = _found(partitions.first.database)
    return None if found is None else found.group_id


def _found(database: Database) -> StoreIdentity | None:
    with closing(database.administration.connect(application=_APPLICATION, owner=True)) as connection:
        return read_identity(connection) if has_identity(connection) else None


def _compare(partition: Partition, found: StoreIdentity, wanted: StoreIdentity) -> None:
    if found != wanted:
        raise PartitionsDiffer(schema=partition.schema, found=str(found), wanted=str(wanted))
