"""How far each group of read models has come, and who leads it.

The lease keeps projectors from doing the same work twice, and nothing more: what keeps them correct is that a group's
position moves by compare-and-set, in the transaction that writes the rows it stands for. So a projector that still
believes in a lease that it has lost can apply nothing twice.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import psycopg
from msgspec import Struct

from ledger.fail_points import fail_point
from ledger.sql import load_statements
from projections.groups import Group
from projections.page import Placed
from projections.tables import LIVE

SQL: Final = load_statements("projections", "tracking.sql")

Connection = psycopg.Connection[Any]


class LeadLost(Exception):
    """Somebody else leads the group, or has moved it."""


class Standing(NamedTuple):
    """Where a group stands: the last position applied, and the one at which it was stopped, if it was."""

    position: int
    stopped_at_position: int | None


class Lease(Struct, frozen=True):
    """The leases of one projector, by its name; they last `duration` from their last renewal on."""

    leader: str
    duration: timedelta

    def lead(self, connection: Connection) -> dict[str, Standing]:
        """Renew one's leases and take those that have run out; give the groups that one leads now."""
        parameters = {"leader": self.leader, "lease": self.duration}
        rows = connection.execute(SQL["lead"], parameters, prepare=True)
        return {name: Standing(position, stopped) for name, position, stopped in rows}

    def release(self, connection: Connection) -> None:
        """Give the leases back, so that another projector need not wait for their end."""
        connection.execute(SQL["release"], {"leader": self.leader})

    def apply(self, connection: Connection, group: Group, after: int, events: Sequence[Placed]) -> int:
        """Apply events to a group that stands at `after`, and move it, in one transaction; give where it then stands.

        Raises LeadLost, with nothing applied, when the group is led by somebody else or stands elsewhere; otherwise
        what applying the events raises.
        """
        reached = events[-1][0]
        held = {"name": group.name, "leader": self.leader}
        with connection.transaction():
            row = connection.execute(SQL["lock"], held, prepare=True).fetchone()
            if row != (after,):
                raise LeadLost
            group.apply(connection, events, LIVE)
            moving = {**held, "from_position": after, "to_position": reached, "lease": self.duration}
            if connection.execute(SQL["move"], moving, prepare=True).rowcount != 1:
                raise LeadLost
            fail_point("projector.before_commit")
        fail_point("projector.after_commit")
        return reached

    def stop(self, connection: Connection, group: Group, *, position: int, because: str) -> None:
        """Note at which position a group was stopped, and why."""
        parameters = {"name": group.name, "leader": self.leader, "position": position, "because": because}
        connection.execute(SQL["stop"], parameters)

    def go_on(self, connection: Connection, group: Group) -> None:
        """Note that nothing stops a group any more."""
        connection.execute(SQL["go_on"], {"name": group.name, "leader": self.leader})
