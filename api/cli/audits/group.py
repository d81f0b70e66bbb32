"""`payment-ledger audit ...`: the group; its commands stand in `verify`, `books` and `copies`."""

from typing import Final

import click

from api.cli.lazy_group import Entry, LazyGroup

_VERIFY: Final = "api.cli.audits.verify"
_BOOKS: Final = "api.cli.audits.books"
_COPIES: Final = "api.cli.audits.copies"

COMMANDS: Final = (
    Entry("verify", f"{_VERIFY}:verify_command", "Recompute every seal, account, payment, snapshot and read model."),
    Entry(
        "checkpoint",
        f"{_VERIFY}:checkpoint_command",
        "Print the last position and seal of each partition, and one digest over them.",
    ),
    Entry("replay", f"{_BOOKS}:replay_command", "Show a payment or an account event by event."),
    Entry("balance", f"{_BOOKS}:balance_command", "Show what an account held at a time or at a position."),
    Entry("trial-balance", f"{_BOOKS}:trial_balance_command", "Sum up the journal."),
    Entry("export", f"{_COPIES}:export_command", "Write the log to FILE, one event a line."),
    Entry("import", f"{_COPIES}:import_command", "Fill an empty store from FILE, an export."),
)


@click.group("audit", cls=LazyGroup, entries=COMMANDS)
def audit_group() -> None:
    """Prove that the books are right, and keep the log elsewhere."""
