"""Checks the stream of operation, and the table `gateway_state` against it."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import psycopg

from ledger.audit.findings import Findings
from ledger.domain.events import GatewayChanged, Recorded
from ledger.domain.identifiers import OPERATION_STREAM
from ledger.operation.state import GATEWAY, GatewayState, evolve_gateway, is_so
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "operation.sql")


class _Known(NamedTuple):
    """A gateway's state by its events, and the position of the last one."""

    state: GatewayState
    position: int


class OperationCheck:
    """The states of the gateways by the events so far. Errors of the events go into the findings."""

    def __init__(self, findings: Findings, *, from_the_first: bool) -> None:
        """Begin with the first event, or after events that are trusted."""
        self._findings = findings
        self._from_the_first = from_the_first
        self._version = 0
        self._known: dict[str, _Known] = {}

    def step(self, position: int, recorded: Recorded[Any], event: GatewayChanged) -> None:
        """Take in an event."""
        stream, version = recorded.originator_id, recorded.originator_version
        if stream != OPERATION_STREAM:
            self._findings.add(position, f"{event.TOPIC} is in the stream {stream!r}")
        elif self._from_the_first and version != self._version + 1:
            self._findings.add(position, f"version {version} of {stream} follows version {self._version}")
        before = self.state(event.gateway)
        if self._from_the_first and is_so(before, event.change):
            self._findings.add(position, f"{event.TOPIC} says {event.change}, which was so before")
        after = evolve_gateway(before, recorded)
        self._version = version
        self._known[event.gateway] = _Known(after, position)

    def state(self, gateway: str) -> GatewayState:
        """Return the state of a gateway by the events so far."""
        known = self._known.get(gateway)
        return GatewayState() if known is None else known.state

    def compare(self, connection: psycopg.Connection[Any], *, position: int) -> None:
        """Compare the rows of `gateway_state` with the events, of which the last in the log is at `position`.

        Errors are reported at a gateway's last event. Rows that have a later event are left to the next audit.
        """
        found = connection.execute(SQL["read_states"], {"position": position, "stream": OPERATION_STREAM}).fetchall()
        if any(goes_on for *_, goes_on in found):
            return
        rows = {row[0]: row[1:-1] for row in found}
        for gateway in sorted(rows.keys() | self._known.keys() | {GATEWAY}):
            known = self._known.get(gateway, _Known(GatewayState(), position))
            if (row := rows.get(gateway)) is None:
                self._findings.add(known.position, f"the gateway {gateway[:100]!r} has no state")
            elif row != _columns(known.state):
                self._findings.add(
                    known.position, f"the state of the gateway {gateway[:100]!r} is not that of its events"
                )


def _columns(state: GatewayState) -> tuple[datetime | str | None, ...]:
    marks = (state.paused, state.opened)
    return tuple(
        each for mark in marks for each in ((None, None, None) if mark is None else (mark.at, mark.why, mark.by))
    )
