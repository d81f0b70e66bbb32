"""An action on every partition, of which each succeeds or fails by itself.

A partition that is away must neither keep an operator from the others nor hide which of them were reached.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

import psycopg
from msgspec import Struct

from ledger.errors import LedgerError
from ledger.partition.partition import Partition, Partitions

AT_ONCE_MAX: Final = 32
"""How many partitions are asked at the same time, where that is wanted."""

ResultT = TypeVar("ResultT")


class PartitionResult(Struct, Generic[ResultT], frozen=True, kw_only=True):
    """The result of an action on a partition; null with the reason in `error` when it failed."""

    partition: int
    result: ResultT | None
    error: str | None = None


class PartitionResults(Struct, Generic[ResultT], frozen=True, kw_only=True):
    """The results of an action on all partitions, in order; `ok` when it succeeded on each."""

    ok: bool
    partitions: list[PartitionResult[ResultT]]

    @property
    def failed(self) -> list[PartitionResult[ResultT]]:
        """The partitions on which it failed."""
        return [each for each in self.partitions if each.error is not None]


def of_each(
    partitions: Partitions, act: Callable[[Partition], ResultT], *, together: bool = False
) -> PartitionResults[ResultT]:
    """Act on one partition after the other, or on many at a time with `together`, and go on after a failure.

    Failures are refusals of the ledger and errors of the database; any other error is raised.
    """

    def tried(partition: Partition) -> PartitionResult[ResultT]:
        try:
            return PartitionResult(partition=partition.number, result=act(partition))
        except psycopg.Error as error:
            return PartitionResult(partition=partition.number, result=None, error=str(error).strip())
        except LedgerError as error:
            return PartitionResult(partition=partition.number, result=None, error=str(error))

    with ThreadPoolExecutor(max_workers=min(AT_ONCE_MAX, len(partitions)) if together else 1) as threads:
        results = [*threads.map(tried, partitions)]
    return PartitionResults(ok=all(each.error is None for each in results), partitions=results)
