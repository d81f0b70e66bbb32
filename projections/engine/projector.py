"""Follows the log and keeps the read models up to date.

One round of the loop reads a page for each group that this projector leads and applies it, rows and tracking in one
transaction; before each it renews the leases when that is due. After a page that was not full it lets a few
milliseconds pass, so that the events of that time are applied together. When no group has anything left, it sleeps
until the writer's notification, at most until it has to look by itself. A second projector only waits for a lease to
run out.

Failures, and the projector's reactions:

* A model cannot apply an event, or the database refuses its row: the page is halved until the guilty event is alone,
  everything before it is applied, and the stream of that event is set aside (`set_aside`). All other streams go on.
* An event cannot be read or is missing, or the fault is not one of data: the group stops there, loudly: in the log, and
  in its tracking row for everybody to see. It tries again at growing pauses, and so goes on once the cause is mended;
  other groups are not held up.
* The connection is lost, or Postgres is restarted: the projector does not stop. It connects again and goes on from
  where the tracking stands.
"""

import selectors
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import msgspec
import psycopg
import stamina
import structlog

from ledger.errors import PoolerSharesSessions, SessionRefused
from ledger.micro_batch import NEWS
from ledger.observe import PageApplied, report
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.outage_log import OutageLog
from ledger.sessions.pauses import FIRST_SECONDS, LONGEST_SECONDS
from ledger.sessions.sqlstates import meaning_of
from ledger.store.database import BY_INDEX, DURABLE, Database
from ledger.store.heartbeats import Heartbeat, new_instance
from ledger.store.notifications import listen_statement
from ledger.store.statements import load_statements
from projections.contract.log_page import Connection, Page, read_page
from projections.contract.postgres_text import one_line
from projections.contract.read_model import Group
from projections.engine.tracking import LeadLost, Lease, Standing
from projections.errors import EventNotApplicable
from projections.models.registry import GROUPS

SQL: Final = load_statements("projections.engine", "projector.sql")

PAGE_MAX: Final = 1_000
LEASE_SECONDS: Final = 8.0
"""Longer than a page may take: the lease counts from the start of its transaction, which `transaction_timeout` ends."""

RENEWALS_PER_LEASE: Final = 3
PAUSE_SECONDS_MIN: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0
LEAVE_SECONDS_MAX: Final = 3.0
"""How long a projector that stops waits for the server."""

ANSWER_SECONDS_MAX: Final = 30.0
"""How long the server may take for one round, before the connection is cut and a new one is made."""

_SESSION: Final = {
    **DURABLE,  # what a client has read is not to be unread after a crash
    **BY_INDEX,
    # A projector that hangs in a transaction must not keep the next one from going on: the server ends its session.
    # The time-out for idle transactions does not do (see ledger/store/log.sql, lock_head_to_append).
    "transaction_timeout": "6s",
    "lock_timeout": "5s",
    # A page is small, whatever the planner takes it for when it does not know its positions.
    "jit": "off",
}

_log = structlog.get_logger()


class _Following:
    """A group as this projector follows it: its position, None when somebody else leads it, and its page size."""

    def __init__(self, group: Group, page_max: int) -> None:
        self.group = group
        self.position: int | None = None
        self.stopped = False
        self.page_size = page_max
        self.pause_seconds = 0.0
        self.try_again_at = 0.0


class Projector:
    """Applies the log to the read models of one ledger, as one of any number of projectors.

    At most `page_max` events go into a transaction; `poll_interval_seconds` is how long it sleeps when no notification
    comes, and `lease_seconds` how long the others wait for one that has died.
    """

    def __init__(
        self,
        database: Database,
        *,
        poll_interval_seconds: float = 0.5,
        page_max: int = PAGE_MAX,
        lease_seconds: float = LEASE_SECONDS,
        pause_seconds_min: float = PAUSE_SECONDS_MIN,
        groups: tuple[Group, ...] = GROUPS,
    ) -> None:
        self._database = database
        self._poll_interval_seconds = poll_interval_seconds
        self._page_max = page_max
        self._renewal_seconds = lease_seconds / RENEWALS_PER_LEASE
        self._pause_seconds_min = pause_seconds_min
        self._lease = Lease(leader=new_instance(), duration=timedelta(seconds=lease_seconds))
        self._heartbeat = Heartbeat("projector", self._lease.leader)
        self._followings = [_Following(group, page_max) for group in groups]
        self._last_page: tuple[int, Page] | None = None
        self._connection: Connection | None = None
        self._listening = False
        self._renew_at = 0.0
        self._stopping = threading.Event()
        self._outage_log = OutageLog("projector")
        self._wake_up: socket.socket | None = None

    @property
    def instance(self) -> str:
        """The name of this projector in tracking and heartbeats."""
        return self._lease.leader

    def run(self) -> None:
        """Follow the log until `stop` is called; a page that is being applied then is still finished."""
        _log.info("projector_started", instance=self.instance)
        reader, self._wake_up = socket.socketpair()
        with reader, self._wake_up:
            try:
                while not self._stopping.is_set():
                    self._round_through_faults(reader)
            finally:
                self._leave()
        _log.info("projector_stopped", instance=self.instance)

    def stop(self) -> None:
        """End `run` soon, from any thread or a signal's handler."""
        self._stopping.set()
        with suppress(OSError):  # it has ended already
            if self._wake_up is not None:
                self._wake_up.send(b"!")

    # --- the loop ---

    def _round_through_faults(self, wake_up: socket.socket) -> None:
        for attempt in stamina.retry_context(
            on=(psycopg.Error, SessionRefused, PoolerSharesSessions),
            attempts=None,
            timeout=None,
            wait_initial=FIRST_SECONDS,
            wait_max=LONGEST_SECONDS,
            wait_jitter=FIRST_SECONDS,
        ):
            with attempt:
                try:
                    self._round(self._connected(), wake_up)
                    self._outage_log.worked()
                except (psycopg.Error, SessionRefused, PoolerSharesSessions) as error:
                    self._disconnect()
                    if not self._stopping.is_set():
                        self._outage_log.failed(one_line(error))
                        raise

    def _round(self, connection: Connection, wake_up: socket.socket) -> None:
        progress: list[bool] = []
        with answer_within(connection, ANSWER_SECONDS_MAX):
            for following in self._followings:
                # Before each group, because the pages of several may take longer together than a lease lasts.
                if time.monotonic() >= self._renew_at:
                    self._lead(connection)
                progress.append(self._advance(connection, following))
        if not any(progress):
            self._sleep(connection, wake_up)
        elif self._last_page is not None and len(self._last_page[1].events) < self._page_max:
            self._stopping.wait(NEWS.pause_seconds)

    def _lead(self, connection: Connection) -> None:
        """Renew the leases, take free groups, and note the positions of the groups."""
        standings = self._lease.lead(connection)
        self._heartbeat.beat(connection)
        self._renew_at = time.monotonic() + self._renewal_seconds
        for following in self._followings:
            self._stand(following, standings.get(following.group.name))
        if self._listening != bool(standings):
            # A projector that leads no group does not need notifications of the log.
            statement = listen_statement(self._database, "log") if standings else SQL["unlisten"]
            connection.execute(statement)
            self._listening = bool(standings)

    def _stand(self, following: _Following, standing: Standing | None) -> None:
        if standing is None:
            if following.position is not None:
                _log.warning("projection_lead_lost", group=following.group.name, instance=self.instance)
            following.position = None
            return
        if following.position is None:
            _log.info("projection_lead_taken", group=following.group.name, position=standing.position)
            if unfilled := [model.name for model in following.group.models if model.name not in standing.models]:
                _log.error("projection_not_filled", group=following.group.name, models=unfilled, mend="rebuild")
        following.position = standing.position
        if following.stopped and standing.stopped_at_position is None:
            # Somebody removed the fault, for example by a rebuild, so the projector goes on at once.
            following.try_again_at = 0.0
            self._resume(following)
        following.stopped = standing.stopped_at_position is not None

    # --- one group ---

    def _advance(self, connection: Connection, following: _Following) -> bool:
        """Apply the next page to a group; tell whether there may be more to do at once."""
        after = following.position
        if after is None or time.monotonic() < following.try_again_at:
            return False
        page = self._page(connection, after, following.page_size)
        if page.events:
            return self._apply(connection, following, after, page)
        if page.fault is not None:
            self._halt(connection, following, page.fault)
        elif following.stopped:
            self._resume(following)
            self._lease.go_on(connection, following.group)
        return False

    def _page(self, connection: Connection, after: int, size: int) -> Page:
        """Read a page, unless it is the one that another group was given before."""
        if self._last_page is not None and self._last_page[0] == after:
            return self._last_page[1].upto(after + size)
        page = read_page(connection, after=after, size=size)
        self._last_page = (after, page) if page.events and page.fault is None else None
        return page

    def _apply(self, connection: Connection, following: _Following, after: int, page: Page) -> bool:
        began = time.perf_counter()
        try:
            following.position = self._lease.apply(connection, following.group, after, page.events)
        except LeadLost:
            self._renew_at = 0.0
            return True
        except Exception as error:
            if isinstance(error, psycopg.Error) and not _may_be_an_events_fault(error):
                raise
            if len(page.events) == 1:
                return self._apply_without(connection, following, after, page, error)
            following.page_size = len(page.events) // 2
            return True
        seconds = time.perf_counter() - began
        report(PageApplied(group=following.group.name, events=len(page.events), seconds=seconds))
        following.page_size = min(self._page_max, max(1, 2 * following.page_size))
        if following.stopped:
            self._resume(following)
        return True

    def _apply_without(
        self, connection: Connection, following: _Following, after: int, page: Page, error: Exception
    ) -> bool:
        """Set the stream of the guilty event aside and go on, or stop the group."""
        try:
            aside = self._lease.set_aside(connection, following.group, after, page.events[0], error)
        except LeadLost:
            self._renew_at = 0.0
            return True
        if aside is None:
            self._halt(connection, following, _blame(error, page))
            return False
        _log.error("projection_stream_set_aside", **msgspec.structs.asdict(aside))
        following.position = aside.position
        return True

    def _halt(self, connection: Connection, following: _Following, fault: EventNotApplicable) -> None:
        """Stop a group for a while, and say so."""
        pause_seconds = min(PAUSE_SECONDS_MAX, max(self._pause_seconds_min, 2 * following.pause_seconds))
        following.pause_seconds, following.stopped, following.page_size = pause_seconds, True, 1
        following.try_again_at = time.monotonic() + pause_seconds
        _log.error(
            "projection_stopped",
            group=following.group.name,
            position=fault.position,
            because=fault.what,
            again_in_seconds=pause_seconds,
        )
        self._lease.stop(connection, following.group, position=fault.position, because=fault.what)

    def _resume(self, following: _Following) -> None:
        _log.info("projection_resumed", group=following.group.name, position=following.position)
        following.stopped, following.pause_seconds = False, 0.0

    # --- waiting ---

    def _sleep(self, connection: Connection, wake_up: socket.socket) -> None:
        """Wait for a notification, for `stop`, or until something is due."""
        if list(connection.notifies(timeout=0)):
            return
        now = time.monotonic()
        dues = [self._renew_at, *(f.try_again_at for f in self._followings if f.try_again_at > now)]
        if self._listening:
            dues.append(now + self._poll_interval_seconds)
        with selectors.DefaultSelector() as selector:
            selector.register(connection, selectors.EVENT_READ)
            selector.register(wake_up, selectors.EVENT_READ)
            selector.select(max(0.0, min(dues) - now))

    # --- the connection ---

    def _connected(self) -> psycopg.Connection[Any]:
        if self._connection is None:
            self._connection = self._database.connect(application="payment-ledger projector", options=_SESSION)
            with answer_within(self._connection, ANSWER_SECONDS_MAX):
                self._heartbeat.start(self._connection)
            self._listening = False
            self._renew_at = 0.0
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._last_page = None

    def _leave(self) -> None:
        """Leave leases and heartbeat as nobody's, if the database is there to hear it."""
        with suppress(psycopg.Error):
            if self._connection is not None:
                with answer_within(self._connection, LEAVE_SECONDS_MAX):
                    self._lease.release(self._connection)
                    self._heartbeat.stop(self._connection)
        self._disconnect()


def _may_be_an_events_fault(error: psycopg.Error) -> bool:
    """Whether an event may be at fault, or the tables, and not the session or the server.

    A projector without a right stops the groups that need it, and says so, because a new session has no more rights.
    """
    return meaning_of(error).may_be_data or (error.sqlstate or "").startswith("42")


def _blame(error: Exception, page: Page) -> EventNotApplicable:
    """Say which event cannot be applied, once it is alone in its page."""
    if isinstance(error, EventNotApplicable):
        return error
    return EventNotApplicable(position=page.events[0][0], what=one_line(error))
