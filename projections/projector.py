"""Follows the log and keeps the read models up to date.

One round of the loop renews the leases when that is due, reads a page for each group that this projector leads and
applies it, rows and tracking in one transaction. After a page that was not full it lets a few milliseconds pass, so
that what comes meanwhile is applied together. When no group has anything left, it sleeps until the writer's
notification, at most until it has to look by itself. A second projector only waits for a lease to run out.

What can go wrong, and what then happens:

* An event cannot be read, is missing, or the database refuses what a model makes of it: the page is halved until the
  guilty event is alone, everything before it is applied, and the group stops there, loudly: in the log, and in its
  tracking row for everybody to see. It tries again at growing pauses, and so goes on once the cause is mended; other
  groups are not held up.
* The connection is lost, or Postgres is restarted: that is no stop. The projector connects again and goes on from
  where the tracking stands.
"""

import selectors
import socket
import threading
import time
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

import psycopg
import stamina
import structlog

from ledger.database import Database
from ledger.heartbeat import Heartbeat, new_instance
from ledger.sql import load_statements
from ledger.wakeup import listen_statement
from projections.errors import EventNotApplicable
from projections.groups import GROUPS, Group
from projections.page import Connection, Page, read_page
from projections.text import one_line
from projections.tracking import LeadLost, Lease, Standing

SQL: Final = load_statements("projections", "projector.sql")

PAGE_MAX: Final = 1_000
LEASE_SECONDS: Final = 5.0
RENEWALS_PER_LEASE: Final = 3
PAUSE_SECONDS_MIN: Final = 1.0
PAUSE_SECONDS_MAX: Final = 60.0
GATHER_SECONDS: Final = 0.01
"""How long news gather after a page that was not full. A page costs about as much with twenty events as with one."""

_SESSION: Final = {
    # A projector that hangs in a transaction must not keep the next one from going on: the server ends its session.
    # The time-out for idle transactions does not do (see ledger/log.sql, lock_head_to_append).
    "transaction_timeout": "6s",
    "lock_timeout": "5s",
    # What a client has read is not to be unread after a crash, and durability is not for a session's settings to lose.
    "synchronous_commit": "on",
    # All its reading and writing is by key. Without this, a plan made while a table was small could read all of it
    # long after it has grown.
    "enable_seqscan": "off",
    # A plan made anew for each size of a page or claim takes longer than it saves (see ledger/writer.py).
    "plan_cache_mode": "force_generic_plan",
}

_log = structlog.get_logger()


class _Following:
    """A group as this projector follows it: where it stands (None when somebody else leads it), and what slows it."""

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
            on=psycopg.Error,
            attempts=None,
            timeout=None,
            wait_initial=0.05,
            wait_max=2.0,
            wait_jitter=0.05,
        ):
            with attempt:
                try:
                    self._round(self._connected(), wake_up)
                except psycopg.Error:
                    self._disconnect()
                    if not self._stopping.is_set():
                        raise

    def _round(self, connection: Connection, wake_up: socket.socket) -> None:
        if time.monotonic() >= self._renew_at:
            self._lead(connection)
        progress = [self._advance(connection, following) for following in self._followings]
        if not any(progress):
            self._sleep(connection, wake_up)
        elif self._last_page is not None and len(self._last_page[1].events) < self._page_max:
            self._stopping.wait(GATHER_SECONDS)

    def _lead(self, connection: Connection) -> None:
        """Renew the leases, take what is free, and note where the groups stand."""
        standings = self._lease.lead(connection)
        self._heartbeat.beat(connection)
        self._renew_at = time.monotonic() + self._renewal_seconds
        for following in self._followings:
            self._stand(following, standings.get(following.group.name))
        if self._listening != bool(standings):
            # Whoever only waits for a lease has no use for news of the log.
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
        following.position = standing.position
        if following.stopped and standing.stopped_at_position is None:
            # What stopped it was mended from outside, as by a rebuild: there is nothing to wait for.
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
        try:
            following.position = self._lease.apply(connection, following.group, after, page.events)
        except LeadLost:
            self._renew_at = 0.0
            return True
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise  # the database's fault, and no event's
        except Exception as error:  # noqa: BLE001 - whatever applying raises, the event is to be found and named
            following.page_size = len(page.events) // 2
            if following.page_size == 0:
                self._halt(connection, following, _blame(error, page))
            return following.page_size > 0
        following.page_size = min(self._page_max, max(1, 2 * following.page_size))
        if following.stopped:
            self._resume(following)
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
                self._lease.release(self._connection)
                self._heartbeat.stop(self._connection)
        self._disconnect()


def _blame(error: Exception, page: Page) -> EventNotApplicable:
    """Say which event cannot be applied, once it is alone in its page."""
    if isinstance(error, EventNotApplicable):
        return error
    return EventNotApplicable(position=page.events[0][0], what=one_line(error))
