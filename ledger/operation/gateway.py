"""Reads and changes the state of a gateway in the store.

A change is one transaction under the head's lock: the event, and the row of `gateway_state` that follows from it. It is
rare, so it has a session of its own, and the writer's batches know nothing of it.
"""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from msgspec import Struct
from msgspec.structs import replace

from ledger.command_ids import new_command_id
from ledger.domain.events import GatewayChange, GatewayChanged, Recorded
from ledger.domain.identifiers import OPERATION_STREAM
from ledger.operation.state import CAUSES, GATEWAY, GatewayState, GatewayWord, Mark, evolve_gateway, is_so
from ledger.recovery.recover import recover_if_behind
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Row, append, locked_head
from ledger.store.notifications import wake
from ledger.store.serialization import encode
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.operation", "gateway.sql")

SESSION: Final = {**WARNED, "lock_timeout": "8s"}

ANSWER_SECONDS_MAX: Final = 10.0
"""How long the server may take for a change."""

Connection = psycopg.Connection[Any]
_log = structlog.get_logger()


class GatewayStanding(Struct, frozen=True, kw_only=True):
    """A gateway's state, and its times on the database's clock, which was at `clock`.

    Nothing is called before `held_until`, and with an open breaker only one payment at a time, from `probe_at` on.
    """

    state: GatewayState
    probe_at: datetime | None
    held_until: datetime | None
    clock: datetime

    @property
    def word(self) -> GatewayWord:
        """The state in a word: `paused`, `open`, `held`, or `closed` while all is well."""
        if self.state.paused is not None:
            return "paused"
        if self.state.opened is not None:
            return "open"
        return "held" if self.held_until is not None and self.held_until > self.clock else "closed"


def read_standing(connection: Connection, *, gateway: str = GATEWAY) -> GatewayStanding:
    """Read the state of a gateway."""
    row = connection.execute(SQL["read_state"], {"gateway": gateway}).fetchone()
    assert row is not None, "a migration makes the row, and nobody may delete it"
    return standing_of(row)


def standing_of(row: tuple[Any, ...]) -> GatewayStanding:
    """Make the standing of a row of `read_state`."""
    paused, opened, (probe_at, held_until, clock) = row[:3], row[3:6], row[6:]
    state = GatewayState(
        paused=None if paused[0] is None else Mark(*paused), opened=None if opened[0] is None else Mark(*opened)
    )
    return GatewayStanding(state=state, probe_at=probe_at, held_until=held_until, clock=clock)


def change_gateway(
    database: Database,
    change: GatewayChange,
    *,
    why: str,
    by: str | None = None,
    operator: str | None = None,
    command_id: str | None = None,
    probe_after: timedelta = timedelta(0),
    gateway: str = GATEWAY,
) -> GatewayStanding:
    """Change the state of a gateway, and return it as it is then. Without a change, no event is written.

    `probe_after` is when a breaker that opens lets its first probe through. A store that is behind the world is
    recovered first, as by every writer. Raises StoreInactive for a copy that nobody has activated, LogBroken when the
    head is missing, and OutcomeUnknown when the commit is in doubt.
    """
    recover_if_behind(database)
    connecting = database.connect(application="payment-ledger operate", options=SESSION)
    with closing(connecting) as connection, answer_within(connection, ANSWER_SECONDS_MAX):
        with certain_commits(connection), connection.transaction():
            head, clock = locked_head(connection.execute(LOG["lock_head_to_append"], binary=True))
            state = read_standing(connection, gateway=gateway).state
            changes = not is_so(state, change)
            if changes:
                event = GatewayChanged(gateway=gateway, change=change, why=why)
                recorded = _recorded(connection, event, at=max(clock, head.at), command=command_id)
                recorded = replace(recorded, by=by, operator=operator)
                row = Row(OPERATION_STREAM, recorded.originator_version, event.TOPIC, encode(recorded))
                with connection.pipeline():
                    appending = append(connection, head, [row], moved=replace(head, at=recorded.at))
                appending.check()
                write_state(connection, evolve_gateway(state, recorded), probe_at=clock + probe_after, gateway=gateway)
            else:
                # The change before this may be in doubt: this commit waits for the standby, and so for that one too.
                connection.execute(SQL["touch_state"], {"gateway": gateway})
            standing = read_standing(connection, gateway=gateway)
        if changes:
            _log.warning(f"gateway_{change}", gateway=gateway, why=why, by=by)
            wake(connection, database, "log", "queue")
    return standing


def write_state(
    connection: Connection, state: GatewayState, *, probe_at: datetime | None = None, gateway: str = GATEWAY
) -> None:
    """Write the state that follows from the events. Only a breaker that is open has a time for its probe."""
    paused, opened = state.paused, state.opened
    parameters = {
        "gateway": gateway,
        "paused_at": None if paused is None else paused.at,
        "paused_why": None if paused is None else paused.why,
        "paused_by": None if paused is None else paused.by,
        "opened_at": None if opened is None else opened.at,
        "opened_why": None if opened is None else opened.why,
        "opened_by": None if opened is None else opened.by,
        "probe_at": None if opened is None else probe_at or opened.at,
    }
    connection.execute(SQL["write_state"], parameters)


def _recorded(connection: Connection, event: GatewayChanged, *, at: datetime, command: str | None) -> Recorded[Any]:
    answer = connection.execute(SQL["read_version"], {"stream": OPERATION_STREAM}).fetchone()
    assert answer is not None
    return Recorded(
        originator_id=OPERATION_STREAM,
        originator_version=answer[0] + 1,
        at=at,
        command_id=command or new_command_id(),
        cause=CAUSES[event.change],
        data=event,
    )
