"""`payment-ledger dlq requeue`: send a payment that failed at the gateway there again."""

import asyncio
from pathlib import Path

import click

from api.cli.command import as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.letters.decision_options import decision_options, payment_id_argument, signed
from api.cli.letters.standing import print_standing
from api.operator.dead_letters import decide, requeue_payment
from ledger.command_ids import new_command_id


@click.command("requeue")
@payment_id_argument
@decision_options
@as_json_option
def requeue_command(
    payment_id: int, *, why: str, by: str, key_file: Path | None, idempotency_key: str | None, as_json: bool
) -> None:
    """Send a payment that failed at the gateway there again."""
    with ledger_for("dlq") as (settings, partitions):
        partition = partitions.of(payment_id)
        sender = asyncio.run(signed(partitions.first.database, by=by, key_file=key_file))
        command = requeue_payment(
            settings,
            command_id=new_command_id(),
            payment_id=payment_id,
            why=why,
            by=sender["by"],
            operator=sender["operator"],
            idempotency_key=idempotency_key,
        )
        standing = decide(settings, partition, command)
    print_standing(standing, as_json=as_json)
