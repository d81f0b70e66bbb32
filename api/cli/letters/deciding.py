"""`payment-ledger dlq resolve` and `adjust`: close a letter after asking the gateway, or book what the gateway did."""

from decimal import Decimal
from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from api.cli.command import as_json_option
from api.cli.letters.deciding_parts import with_parts
from api.cli.letters.decision_options import decision_options, gateway_key_option, payment_id_argument
from api.cli.letters.standing import print_standing, request_words
from api.cli.output import print_json
from api.decisions.answers import approval_view
from api.decisions.approvals import Approval
from api.decisions.gateway_questions import GatewaySaid
from api.decisions.letter_decisions import Decided, decide
from api.decisions.parts import DecidingParts
from ledger.command_ids import new_command_id
from ledger.domain.commands import AdjustPayment, ResolvePayment
from ledger.domain.events import AdjustedAgainst, Resolution
from ledger.domain.kinds import Direction
from ledger.domain.money import amount_from_text
from ledger.errors import AmountInvalid


def _amount(_: click.Context, __: click.Parameter, value: str | None) -> Decimal | None:
    if value is None:
        return None
    try:
        return amount_from_text(value)
    except AmountInvalid as error:
        raise click.BadParameter("must be a plain decimal number, such as 12.50") from error


@click.command("resolve")
@payment_id_argument
@click.option("--outcome", type=click.Choice(get_args(Resolution)), required=True, help="What became of the payment.")
@gateway_key_option
@click.option("--force", is_flag=True, help="Go against a clear answer of the gateway; it is recorded so.")
@decision_options
@as_json_option
def resolve_command(  # noqa: PLR0913 - one for each option
    payment_id: int,
    *,
    outcome: Resolution,
    gateway_key: str | None,
    force: bool,
    why: str,
    by: str,
    key_file: Path | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Ask the gateway, and close a dead letter with an outcome.

    An outcome against a clear answer is refused without --force. When the gateway cannot be asked, or its answer is not
    clear, the decision goes through.
    """

    async def resolve(parts: DecidingParts, sender: dict[str, str | None]) -> Decided | Approval:
        command = ResolvePayment(
            command_id=new_command_id(),
            by=sender["by"],
            operator=sender["operator"],
            payment_id=payment_id,
            outcome=outcome,
            why=why,
            gateway_key=gateway_key,
            force=force,
            idempotency_key=idempotency_key,
        )
        return await decide(parts, command)

    decided = with_parts(resolve, of=lambda partitions: partitions.of(payment_id), by=by, key_file=key_file)
    _print(decided, as_json=as_json)


@click.command("adjust")
@payment_id_argument
@click.option(
    "--against", type=click.Choice(get_args(AdjustedAgainst)), required=True, help="The user's account, or suspense."
)
@click.option(
    "--direction", type=click.Choice(get_args(Direction)), help="Of the money; by default that of the payment."
)
@click.option("--amount", callback=_amount, help="By default the amount of the payment, without its fee.")
@gateway_key_option
@decision_options
@as_json_option
def adjust_command(  # noqa: PLR0913 - one for each option
    payment_id: int,
    *,
    against: AdjustedAgainst,
    direction: Direction | None,
    amount: Decimal | None,
    gateway_key: str | None,
    why: str,
    by: str,
    key_file: Path | None,
    idempotency_key: str | None,
    as_json: bool,
) -> None:
    """Book money that the gateway moved beside the payment's end."""

    async def adjust(parts: DecidingParts, sender: dict[str, str | None]) -> Decided | Approval:
        command = AdjustPayment(
            command_id=new_command_id(),
            by=sender["by"],
            operator=sender["operator"],
            payment_id=payment_id,
            why=why,
            against=against,
            direction=direction,
            amount=amount,
            gateway_key=gateway_key,
            idempotency_key=idempotency_key,
        )
        return await decide(parts, command)

    decided = with_parts(adjust, of=lambda partitions: partitions.of(payment_id), by=by, key_file=key_file)
    _print(decided, as_json=as_json)


def _print(decided: Decided | Approval, *, as_json: bool) -> None:
    if isinstance(decided, Approval):
        if as_json:
            print_json(approval_view(decided))
        else:
            click.echo(request_words(approval_view(decided)))
        return
    more: dict[str, Any] = {}
    if decided.said is not None:
        more = {"gateway": msgspec.structs.asdict(decided.said), "forced": decided.forced}
        if not as_json:
            click.echo(_words(decided.said) + (" The decision goes against that." if decided.forced else ""))
    print_standing(decided.standing, as_json=as_json, **more)


def _words(said: GatewaySaid) -> str:
    if said.answer is None:
        return f"The gateway was not asked: {said.error}."
    return (
        f"The gateway says {said.answer}." if said.error is None else f"The gateway gave no clear answer: {said.error}."
    )
