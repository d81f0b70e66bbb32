"""Deposits that wait for the gateway, in a partition of their own account."""

from collections.abc import Sequence
from decimal import Decimal

from ledger.domain.commands import OpenAccount, RequestDeposit
from ledger.partition.partition import Partition
from ledger.writer.writer import Writer


def deposits(partition: Partition, count: int) -> Sequence[int]:
    """Open an account in a partition and request deposits for it; the ids of the payments."""
    writer = Writer(partition.database, slots=partition.slots)
    writer.start()
    try:
        opened = writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result(30)
        asked = [
            writer.submit(
                RequestDeposit(
                    command_id=f"ask-{number}",
                    account_id=opened.account_id,
                    amount=Decimal(10 + number),
                    fee_rate_ppm=20_000,
                )
            )
            for number in range(count)
        ]
        return [each.result(30).payment_id for each in asked]
    finally:
        writer.stop()
