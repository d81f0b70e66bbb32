"""`payment-ledger dlq ...`: the groups; their commands stand in `looking`, `deciding`, `bulk` and `approvals`."""

from typing import Final

import click

from api.cli.lazy_group import Entry, LazyGroup

_LOOKING: Final = "api.cli.letters.looking"
_DECIDING: Final = "api.cli.letters.deciding"
_BULK: Final = "api.cli.letters.bulk"
_APPROVALS: Final = "api.cli.letters.approvals"

COMMANDS: Final = (
    Entry("list", f"{_LOOKING}:list_command", "List dead letters, newest first."),
    Entry("show", f"{_LOOKING}:show_command", "Show all that has happened to a payment."),
    Entry(
        "requeue",
        "api.cli.letters.requeueing:requeue_command",
        "Send a payment that failed at the gateway there again.",
    ),
    Entry("resolve", f"{_DECIDING}:resolve_command", "Ask the gateway, and close a dead letter with an outcome."),
    Entry("adjust", f"{_DECIDING}:adjust_command", "Book money that the gateway moved beside the payment's end."),
    Entry("plan", f"{_BULK}:plan_command", "List what a decision about many letters would do, and do nothing."),
    Entry("run", f"{_BULK}:run_command", "Carry out a list by its digest."),
    Entry("approvals", f"{_APPROVALS}:list_command", "List the decisions that need a second key."),
    Entry("approve", f"{_APPROVALS}:approve_command", "Approve a decision of another key, and carry it out."),
    Entry("reject", f"{_APPROVALS}:reject_command", "Reject a decision that waits, or take your own back."),
)


@click.group("dlq", cls=LazyGroup, entries=COMMANDS)
def dlq_group() -> None:
    """Look at dead letters, and decide about them."""
