"""Reads the log page by page.

A page ends early at the first position where the log has no event or none that can be read, and names it, so that
the events before it can still be applied. Each page is one short read: no snapshot stays open between two of them.
"""

from collections.abc import Sequence
from typing import Any

import psycopg
from msgspec import Struct

from ledger.domain.events import AnyEvent, Recorded
from ledger.store.log import SQL as LOG
from ledger.store.serialization import decode
from projections.contract.postgres_text import one_line
from projections.errors import EventNotApplicable

Connection = psycopg.Connection[Any]

Placed = tuple[int, Recorded[AnyEvent]]
"""An event with its position in the log."""


class Page(Struct, frozen=True):
    """Events in the order of the log, and the fault that ended the page early, if there was one."""

    events: Sequence[Placed]
    fault: EventNotApplicable | None = None

    def upto(self, position: int) -> "Page":
        """Cut the page after a position."""
        if not self.events or self.events[-1][0] <= position:
            return self
        return Page([placed for placed in self.events if placed[0] <= position])


def read_page(connection: Connection, *, after: int, size: int) -> Page:
    """Read at most `size` events that follow a position.

    The head is read first: an event up to it that the second read does not find is missing for good.
    """
    with connection.pipeline():
        heads = connection.execute(LOG["read_head"], prepare=True, binary=True)
        rows = connection.execute(
            LOG["read_positions"], {"after": after, "upto": after + size}, prepare=True, binary=True
        )
    head = heads.fetchone()
    assert head is not None
    head_position: int = head[0]
    if head_position < after:
        what = f"the log ends at {head_position} and the read models are further"
        return Page([], EventNotApplicable(position=head_position + 1, what=what))
    return _decoded(rows.fetchall(), after=after, upto=min(head_position, after + size))


def _decoded(rows: Sequence[tuple[int, str, int, str, bytes]], *, after: int, upto: int) -> Page:
    events: list[Placed] = []
    expected = after
    for position, stream, version, topic, state in rows:
        expected += 1
        if position != expected:
            break
        try:
            events.append((position, decode(stream, version, topic, state)))
        except Exception as error:  # noqa: BLE001 - whatever reading or an upcast raises, this event cannot be read
            return Page(events, EventNotApplicable(position=position, what=one_line(error)))
    reached = after + len(events)
    if reached < upto:
        return Page(events, EventNotApplicable(position=reached + 1, what="the log has no event at this position"))
    return Page(events)
