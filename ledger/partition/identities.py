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
from ledger.store.migrate import SQL, StoreIdentity, has_identity, read_identity

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


def check_before_new(partitions: Partitions) -> None:
    """Look at the stores that there are, before a missing one is made. Raises PartitionsDiffer.

    It refuses a ledger with another number of partitions, and one that has begun without one of its stores: all stores
    are made before the first event, so the missing one is elsewhere.
    """
    found = {partition: _found(partition.database) for partition in partitions}
    for partition, identity in found.items():
        if identity is not None and identity.slots != partition.slots:
            raise PartitionsDiffer(schema=partition.schema, found=str(identity), wanted=_place(partition))
    missing = [partition for partition, identity in found.items() if identity is None]
    has_begun = missing and any(_has_begun(each.database) for each, identity in found.items() if identity is not None)
    for partition in missing:
        for schema in partitions.schemas_of_others:
            other = _found(replace(partition.database.administration, schema=schema))
            if other is not None:
                raise PartitionsDiffer(schema=schema, found=str(other), wanted=_place(partition))
        if has_begun:
            raise PartitionsDiffer(schema=partition.schema, found="no store", wanted=_place(partition))


def group_of(partitions: Partitions) -> UUID | None:
    """Return the id of the ledger, which its first partition has; None before the ledger is made."""
    found = _found(partitions.first.database)
    return None if found is None else found.group_id


def _found(database: Database) -> StoreIdentity | None:
    with closing(database.administration.connect(application=_APPLICATION, owner=True)) as connection:
        return read_identity(connection) if has_identity(connection) else None


def _has_begun(database: Database) -> bool:
    with closing(database.administration.connect(application=_APPLICATION, owner=True)) as connection:
        return connection.execute(SQL["has_begun"]).fetchone() == (True,)


def _place(partition: Partition) -> str:
    return f"partition {partition.number} of {partition.slots.count}"


def _compare(partition: Partition, found: StoreIdentity, wanted: StoreIdentity) -> None:
    if found != wanted:
        raise PartitionsDiffer(schema=partition.schema, found=str(found), wanted=str(wanted))
