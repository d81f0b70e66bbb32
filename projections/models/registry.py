"""The list of all read models: one line each, in the group with which it moves.

The models of a group share a tracking row, stop together and always agree with each other; a page is applied to them
in this order. A model that joins a group which already follows the log is filled by `payment-ledger rebuild`, and
`status` names it until then; one in a group of its own fills itself from the beginning.
"""

from typing import Final

from ledger.store.migrate import Followers
from projections.contract.read_model import SET_ASIDE, Group
from projections.models import (
    account_balance,
    counters,
    dead_letter,
    journal,
    payment_end,
    payment_status,
)

GROUPS: Final = (
    Group(
        "read_models",
        (
            payment_status.MODEL,
            account_balance.MODEL,
            journal.MODEL,
            dead_letter.MODEL,
        ),
    ),
    Group(
        "counters",
        (
            counters.MODEL,
            payment_end.MODEL,
        ),
    ),
)

TABLES: Final = (*(table.name for group in GROUPS for table in group.tables), SET_ASIDE.name)
"""The names of all tables that are made from the log: those of all read models, and the list of streams set aside."""

FOLLOWERS: Final = Followers(
    tables=TABLES, tracked={group.name: [model.name for model in group.models] for group in GROUPS}
)
"""The tables that a migration gives rights to, and the groups that it begins to track."""
