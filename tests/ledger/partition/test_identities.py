"""Each store says which partition of which ledger it is, and a program that takes it for another one is refused."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from uuid import uuid4

import psycopg
import psycopg.errors
import pytest
from msgspec.structs import replace

from api.runtime.database import migrate_all
from ledger.audit.verify import verify_store
from ledger.domain.commands import OpenAccount
from ledger.partition.identities import PartitionsDiffer, check_identities, group_of
from ledger.partition.partition import Partition, Partitions
from ledger.store.database import Database
from ledger.store.migrate import read_identity
from ledger.writer.writer import Writer
from tests.support.databases import execute, fresh_database, fresh_ledger, fresh_partitions, remove


@pytest.fixture
def four(postgres_url: str) -> Iterator[Partitions]:
    """Yield an empty ledger with four partitions."""
    with fresh_partitions(postgres_url, 4) as partitions:
        yield partitions


def identity(partition: Partition) -> tuple[str, tuple[int, int], str]:
    """Read which store it is: its id, its place, and the id of the ledger."""
    with closing(partition.database.connect(application="test")) as connection:
        found = read_identity(connection)
    return str(found.ledger_id), (found.slots.number, found.slots.count), str(found.group_id)


def test_the_only_partition_is_the_ledger(postgres_url: str) -> None:
    """Its own id is that of the ledger, and nothing else stands in it."""
    with fresh_ledger(postgres_url) as database:
        partitions = Partitions.whole(database)
        own, place, group = identity(partitions.only)

        assert (place, group, str(check_identities(partitions))) == ((0, 1), own, own)
        assert execute(database, "SELECT group_id FROM ledger_identity") == [(None,)]


def test_all_partitions_have_the_id_of_the_first(four: Partitions) -> None:
    """Each has its own id too, so that no two have the same seals."""
    found = [identity(partition) for partition in four]

    assert [place for _, place, _ in found] == [(0, 4), (1, 4), (2, 4), (3, 4)]
    assert {group for *_, group in found} == {found[0][0]} == {str(group_of(four))}
    assert len({own for own, *_ in found}) == 4


def test_each_partition_numbers_its_own_accounts(four: Partitions) -> None:
    """Together they give each number once, and the audit knows which come next."""
    opened = []
    for partition in four:
        writer = Writer(partition.database, slots=partition.slots)
        writer.start()
        for number in range(3):
            command = OpenAccount(command_id=str(number), opening=Decimal(5), currency="USD")
            opened.append(writer.submit(command).result(30).account_id)
        writer.stop()

    assert sorted(opened) == list(range(1, 13))
    assert [verify_store(partition.database).errors for partition in four] == [[]] * 4


def test_an_account_of_another_partition_is_found(four: Partitions) -> None:
    """A store whose words about itself were changed has accounts that are not its own."""
    partition = [*four][1]
    writer = Writer(partition.database, slots=partition.slots)
    writer.start()
    writer.submit(OpenAccount(command_id="a", opening=Decimal(5), currency="USD")).result(30)
    writer.stop()
    execute(partition.database, "UPDATE ledger_identity SET partition = 2", owner=True)

    (error,) = verify_store(partition.database).errors

    assert "account-2 is opened where account-3 must come next" in error.what


def test_a_ledger_with_another_number_of_partitions_is_refused(four: Partitions, postgres_url: str) -> None:
    """By a start with one partition, which would begin a new ledger beside it, and by those with two and with eight."""
    base = four.first.schema.removesuffix("_0")
    one = Partitions.whole(Database(postgres_url, base))
    several = [Partitions.over([Database(postgres_url, base)] * count) for count in (2, 8)]

    for partitions in (one, *several):
        with pytest.raises(PartitionsDiffer) as refused:
            migrate_all(partitions)
        assert (refused.value.schema, "of 4 of" in refused.value.found) == (f"{base}_0", True)
    with closing(psycopg.connect(postgres_url)) as connection:
        made = connection.execute(
            "SELECT nspname FROM pg_namespace WHERE starts_with(nspname, %s) ORDER BY 1", [base]
        ).fetchall()
    assert made == [(f"{base}_{number}",) for number in range(4)]


def test_a_ledger_that_has_begun_gets_no_new_store(four: Partitions, postgres_url: str) -> None:
    """A URL that leads elsewhere would give the users of a partition an empty store; an unfinished start goes on."""
    with fresh_database(postgres_url) as elsewhere:
        first, *others, last = four
        mistaken = Partitions([first, *others, replace(last, database=replace(last.database, url=elsewhere))])
        writer = Writer(first.database, slots=first.slots)
        writer.start()
        writer.submit(OpenAccount(command_id="a", opening=Decimal(5), currency="USD")).result(30)
        writer.stop()

        with pytest.raises(PartitionsDiffer) as refused:
            migrate_all(mistaken)

    assert (refused.value.schema, refused.value.found) == (last.schema, "no store")


def test_an_unfinished_beginning_goes_on(four: Partitions) -> None:
    """A first start that died between two stores is repeated."""
    before = identity(four.first)
    remove([*four][2].database)

    migrate_all(four)

    assert [identity(partition)[1:] for partition in four] == [((n, 4), before[0]) for n in range(4)]


def test_a_ledger_that_was_not_split_is_refused_to_a_start_with_several(postgres_url: str) -> None:
    """Its users would not be found, and new ones would get their numbers."""
    with fresh_ledger(postgres_url) as database:
        partitions = Partitions.over([database] * 2)

        with pytest.raises(PartitionsDiffer) as refused:
            migrate_all(partitions)

        assert refused.value.schema == database.schema
        assert "partition 0 of 1 of the ledger" in refused.value.found


def test_swapped_partitions_are_refused(four: Partitions) -> None:
    """The URLs in another order lead each user to a store of other users."""
    first, second, *others = four
    swapped = Partitions([replace(first, database=second.database), replace(second, database=first.database), *others])

    with pytest.raises(PartitionsDiffer, match="not the partition that the settings say"):
        check_identities(swapped)


def test_a_partition_of_another_ledger_is_refused(four: Partitions, postgres_url: str) -> None:
    """Its place is right, and its users are others."""
    with fresh_partitions(postgres_url, 4) as strange:
        mixed = Partitions([*[*four][:3], [*strange][3]])

        with pytest.raises(PartitionsDiffer) as refused:
            check_identities(mixed)

    assert str(group_of(four)) in refused.value.wanted
    assert str(group_of(four)) not in refused.value.found


@pytest.mark.parametrize(
    "words",
    [
        "partitions = 3, group_id = gen_random_uuid()",
        "partition = 1",
        "partition = -1",
        "partitions = 2",
        "group_id = gen_random_uuid()",
        "partitions = 2048, group_id = gen_random_uuid()",
        "partitions = 0",
    ],
)
def test_a_place_that_cannot_be_is_refused_by_the_store(postgres_url: str, words: str) -> None:
    """A ledger has a power of two of partitions, and only one of several needs the id of another."""
    with fresh_ledger(postgres_url) as database, pytest.raises(psycopg.errors.CheckViolation):
        execute(database, f"UPDATE ledger_identity SET {words}", owner=True)


def test_a_partition_keeps_its_place(four: Partitions) -> None:
    """A second migration gives no store another id or another head."""
    before = [identity(partition) for partition in four]

    assert migrate_all(four) == []
    assert [identity(partition) for partition in four] == before


def test_partitions_may_be_in_several_databases(postgres_url: str) -> None:
    """Each URL leads to its own; the schemas have the names that they would have in one."""
    base = f"test_{uuid4().hex[:16]}"
    with fresh_database(postgres_url) as one, fresh_database(postgres_url) as other:
        partitions = Partitions.over([Database(one, base), Database(other, base)])
        migrate_all(partitions)
        places = [identity(partition)[1] for partition in partitions]
        for partition in partitions:
            remove(partition.database)

    assert [partition.schema for partition in partitions] == [f"{base}_0", f"{base}_1"]
    assert places == [(0, 2), (1, 2)]
