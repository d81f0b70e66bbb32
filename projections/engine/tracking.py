"""How far each group of read models has come, and who leads it.

The lease keeps projectors from doing the same work twice, and nothing more. They are correct because a group's
position moves by compare-and-set, in the transaction that writes the rows it stands for. So a projector that still
believes in a lease that it has lost can apply nothing twice.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

import psycopg
from msgspec import Struct

from ledger.fail_points import fail_point
from ledger.store.statements import load_statements
from projections.contract.log_page import Placed
from projections.contract.read_model import Group
from projections.contract.table_names import LIVE
from projections.engine.set_aside import SetAside, ask_set_aside, can_set_aside, set_aside, streams_of, without

SQL: Final = load_statements("projections.engine", "tracking.sql")

Connection = psycopg.Connection[Any]


class LeadLost(Exception):
    """Somebody else leads the group, or has moved it."""


class Standing(NamedTuple):
    """Where a group stands: the last position applied, the one at which it was stopped, if it was, and its models.

    `models` are the names of those that are filled.
    """

    position: int
    stopped_at_position: int | None
    models: Sequence[str]


class Lease(Struct, frozen=True):
    """The leases of one projector, by its name; they last `duration` from their last renewal on."""

    leader: str
    duration: timedelta

    def lead(self, connection: Connection) -> dict[str, Standing]:
        """Renew one's leases and take those that have run out; give the groups that one leads now."""
        parameters = {"leader": self.leader, "lease": self.duration}
        rows = connection.execute(SQL["lead"], parameters, prepare=True)
        return {name: Standing(position, stopped, models) for name, position, stopped, models in rows}

    def release(self, connection: Connection) -> None:
        """Give the leases back, so that another projector need not wait for their end."""
        connection.execute(SQL["release"], {"leader": self.leader})

    def apply(self, connection: Connection, group: Group, after: int, events: Sequence[Placed]) -> int:
        """Apply events to a group that stands at `after`, and move it, in one transaction; give where it then stands.

        Models that are not filled, and events of streams that are set aside, are left out. Raises LeadLost, with
        nothing applied, when the group is led by somebody else or stands elsewhere; otherwise what applying the events
        raises.
        """
        with connection.transaction():
            filled, streams = self._lock(connection, group, after)
            if kept := without(events, streams):
                filled.apply(connection, kept, LIVE)
            self._move(connection, group, after, to=events[-1][0])
            fail_point("projector.before_commit")
        fail_point("projector.after_commit")
        return events[-1][0]

    def set_aside(
        self, connection: Connection, group: Group, after: int, placed: Placed, error: Exception
    ) -> SetAside | None:
        """Set the stream of the next event aside, and move the group behind it; None when its data is not at fault.

        Raises LeadLost.
        """
        with connection.transaction():
            _, streams = self._lock(connection, group, after)
            if not can_set_aside(error, streams):
                return None
            aside = set_aside(connection, group, placed, error, LIVE)
            self._move(connection, group, after, to=placed[0])
        return aside

    def _lock(self, connection: Connection, group: Group, after: int) -> tuple[Group, set[str]]:
        """Lock a group that stands at `after`; give its models that are filled, and the streams that are set aside."""
        with connection.pipeline():
            locked = connection.execute(SQL["lock"], {"name": group.name, "leader": self.leader}, prepare=True)
            asked = ask_set_aside(connection, group, LIVE)
        row = locked.fetchone()
        if row is None or row[0] != after:
            raise LeadLost
        return group.only(row[1]), streams_of(asked)

    def _move(self, connection: Connection, group: Group, after: int, *, to: int) -> None:
        moving = {
            "name": group.name,
            "leader": self.leader,
            "from_position": after,
            "to_position": to,
            "lease": self.duration,
        }
        if connection.execute(SQL["move"], moving, prepare=True).rowcount != 1:
            raise LeadLost

    def stop(self, connection: Connection, group: Group, *, position: int, because: str) -> None:
        """Note at which position a group was stopped, and why."""
        parameters = {"name": group.name, "leader": self.leader, "position": position, "because": because}
        connection.execute(SQL["stop"], parameters)

    def go_on(self, connection: Connection, group: Group) -> None:
        """Note that nothing stops a group any more."""
        connection.execute(SQL["go_on"], {"name": group.name, "leader": self.leader})
