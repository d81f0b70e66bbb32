"""Shows a payment's state after a decision, and that of a request for a second key."""

from typing import Any

import click

from api.cli.output import print_json
from api.decisions.answers import ApprovalView
from ledger.domain.commands import PaymentStanding


def print_standing(standing: PaymentStanding, *, as_json: bool, **more: Any) -> None:  # noqa: ANN401 - for JSON
    """Show a state; `more` are further fields of the JSON."""
    if as_json:
        state = {"payment_id": standing.payment_id, "state": standing.state, "replayed": standing.replayed}
        print_json(state | more)
    elif standing.replayed:
        click.echo(f"Payment {standing.payment_id} became {standing.state} when this key was used before.")
    else:
        click.echo(f"Payment {standing.payment_id} is now {standing.state}.")


def request_words(seen: ApprovalView) -> str:
    """Say the end of a request in a line, or that it waits."""
    if seen.state == "waiting":
        return f"Nothing is done yet: another key has to approve request {seen.id} by {seen.expires_at}."
    told = "" if seen.result is None else f": {seen.result}"
    return f"Request {seen.id} is {seen.state}{told}."
