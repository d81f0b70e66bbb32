"""Recovers a store that may be behind the world: one that was restored, or a standby that was promoted.

Such a store has forgotten what happened after its last commit, and the gateway and the clients have not. So, in one
transaction under the head's lock:

* Every call that is open counts as begun, as if its worker had died during it. The next worker records that attempt as
  unknown before it calls again, so that neither a refusal of a repetition nor calls that were turned away fail the
  payment: its outcome is learnt by an inquiry. A series that waits for the inquiry before its first call needs no mark,
  because the process takes no later series for one that was never called (`processors.payments.process`).
* A gap is left in the numbers of accounts and payments, so that no number, and no gateway key made of one, is given a
  second time. The gap holds more numbers than a ledger can have given since its last event (a pause of the gateway does
  not count), and since the last head that was noted on this machine.
* The event `ledger.recovered` says both, and from which numbers on the ledger counts. An audit accepts no other gap.
"""

from contextlib import closing
from datetime import datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from msgspec import Struct

from ledger.command_ids import new_command_id
from ledger.domain.events import TEXT_CHARACTERS_MAX, AnyEvent, LedgerRecovered, Recorded
from ledger.domain.identifiers import ID_MAX, LEDGER_STREAM, OPERATION_STREAM, SEQUENCE_MAX, SLOTS
from ledger.errors import LogBroken, NumbersUsedUp
from ledger.recovery.noted_head import NotedHead, NotedHeads
from ledger.recovery.server import SQL, note_server, noted_server, server_of
from ledger.sessions.answer_limit import answer_within
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, Row, append
from ledger.store.migrate import ledger_id
from ledger.store.notifications import wake
from ledger.store.serialization import decode, encode

NUMBERS_A_SECOND_MAX: Final = 20_000
"""More accounts or payments than a ledger was ever seen to accept in a second."""

APART: Final = timedelta(minutes=1)
"""How far the clocks of two servers may be apart."""

SKIP_MIN: Final = int(APART.total_seconds()) * NUMBERS_A_SECOND_MAX
"""The smallest gap by default."""

SKIP_MAX: Final = 2**40
"""The largest gap by default, which a ledger has room for eight times. It is reached after 21 months without events."""

LEASED_BY: Final = "recovery"

SESSION: Final = {
    **WARNED,
    # Longer than any writer may hold the head.
    "lock_timeout": "8s",
    # A recovery that hangs must not hold the head for ever. One of a million open payments takes some seconds.
    "transaction_timeout": "1min",
}

ANSWER_SECONDS_MAX: Final = 5.0
"""How long the server may take to tell whether the store is behind."""

RECOVERY_SECONDS_MAX: Final = 65.0
"""How long it may take for a recovery, which its own time-outs end before that unless it hangs."""

_NEW: Final = "the store has noted no server yet"

Connection = psycopg.Connection[Any]
_log = structlog.get_logger()


class Recovery(Struct, frozen=True, kw_only=True):
    """The result of a recovery: the position of its event, the first numbers given from now on, and the calls counted.

    `skipped` is how many numbers were left out, of accounts and of payments each.
    """

    position: int
    skipped: int
    next_account_id: int
    next_payment_sequence: int
    calls: int


def recover(
    database: Database, *, why: str, skip: int | None = None, noted_heads: NotedHeads | None = None
) -> Recovery:
    """Recover a store, whatever it knows of itself. `skip` is the size of the gap, by default as `next_numbers` has it.

    Raises StoreInactive for a copy that nobody has activated, LogBroken when the head is missing, NumbersUsedUp,
    and OutcomeUnknown when the commit is in doubt.
    """
    with closing(database.connect(application="payment-ledger recover", options=SESSION)) as connection:
        server, number = server_of(connection), ledger_id(connection)
        noted_head = None if noted_heads is None else noted_heads.read(number)
        with certain_commits(connection), connection.transaction():
            done, head = recover_within(connection, why=why, skip=skip, server=server, noted_head=noted_head)
        if noted_heads is not None:
            noted_heads.note_recovery(number, head)
        wake(connection, database, "log", "queue")
    return done


def recover_if_behind(
    database: Database, noted_heads: NotedHeads | None = None, *, within_seconds: float = ANSWER_SECONDS_MAX
) -> Recovery | None:
    """Recover a store that is on another server or timeline than when it was last written, or lacks a noted head.

    Every process that writes calls this on each new connection, before it writes and after it has connected: should the
    address move to another server in between, then the connection is one to the server before. The first process
    recovers, and the others find it done. A new store, and one of an earlier program, notes where it is. The server may
    take `within_seconds` to tell. Raises NumbersUsedUp.
    """
    connecting = database.connect(application="payment-ledger recover", options=SESSION, within_seconds=within_seconds)
    with closing(connecting) as connection:
        with answer_within(connection, within_seconds):
            server, number = server_of(connection), ledger_id(connection)
            noted_head = None if noted_heads is None else noted_heads.read(number)
            if _behind(connection, server, noted_head) is None:
                return None
        with answer_within(connection, RECOVERY_SECONDS_MAX):
            with connection.transaction():
                head, _ = _locked(connection)
                why = _behind(connection, server, noted_head)  # as it is under the lock
                if why is None or head.inactive:
                    return None
                if why == _NEW:
                    note_server(connection, server)
                    return None
                done, reached = recover_within(connection, why=why, skip=None, server=server, noted_head=noted_head)
            if noted_heads is not None:
                noted_heads.note_recovery(number, reached)
            wake(connection, database, "log", "queue")
    return done


def _behind(connection: Connection, server: str | None, noted_head: NotedHead | None) -> str | None:
    """Say why a store may be behind the world; None when nothing tells so."""
    noted = noted_server(connection)
    if noted_head is not None and _lacks(connection, noted_head):
        return f"the log does not have position {noted_head.position} as it was noted on this machine"
    if server is None or noted == server:
        return None
    return _NEW if noted is None else f"the store was on the server {noted} and is on {server} now"


def _lacks(connection: Connection, noted_head: NotedHead) -> bool:
    """Tell whether a noted head is missing from the log, and the log was not recovered after it was noted."""
    row = connection.execute(LOG["read_digest"], {"position": noted_head.position}).fetchone()
    if row is not None and bytes(row[0]).hex() == noted_head.digest:
        return False
    last = connection.execute(SQL["read_last"], {"stream": LEDGER_STREAM}).fetchone()
    return last is None or decode(LEDGER_STREAM, *last).at < noted_head.at


def default_skip(since: datetime, *, now: datetime) -> int:
    """Tell how large a gap holds all numbers that may have been given since a time.

    A time that is ahead of the clock by more than clocks differ does not tell how long that was.
    """
    if since > now + APART:
        return SKIP_MAX
    seconds = max(timedelta(0), now - since) // timedelta(seconds=1)
    return min(SKIP_MAX, SKIP_MIN + seconds * NUMBERS_A_SECOND_MAX)


def next_numbers(
    head: Head, since: datetime, *, skip: int | None, noted_head: NotedHead | None, now: datetime
) -> tuple[int, int]:
    """Give the next account and the next payment's number after a gap of the size `skip`.

    By default the gap holds all numbers that may have been given `since` a time. A store that was written after its
    restore has a young head, so the gap then also holds all that may have been given since a noted head. Raises
    NumbersUsedUp.
    """
    gap = default_skip(since, now=now) if skip is None else skip
    accounts, payments = head.next_account_id + gap, head.next_payment_sequence + gap
    if skip is None and noted_head is not None:
        gap = default_skip(noted_head.at, now=now)
        accounts = max(accounts, noted_head.next_account_id + gap)
        payments = max(payments, noted_head.next_payment_sequence + gap)
    # Whole rounds of slots, so that the next account is one of the same partition.
    rounds = -(-(accounts - head.next_account_id) // SLOTS)
    next_account_id = head.next_account_id + rounds * SLOTS
    if next_account_id > ID_MAX or payments > SEQUENCE_MAX:
        raise NumbersUsedUp(next_account_id=next_account_id, next_payment_sequence=payments)
    return next_account_id, payments


def recover_within(
    connection: Connection, *, why: str, skip: int | None, server: str | None, noted_head: NotedHead | None = None
) -> tuple[Recovery, Head]:
    """Recover in the caller's transaction. Returns also the new head. Raises StoreInactive, LogBroken, NumbersUsedUp.

    `why` has 1 to `TEXT_CHARACTERS_MAX` characters, as every text in the log.
    """
    assert 0 < len(why) <= TEXT_CHARACTERS_MAX, "an audit refuses it"
    head, now = _locked(connection)
    since = _last_change(connection) or head.at
    next_account_id, next_payment_sequence = next_numbers(head, since, skip=skip, noted_head=noted_head, now=now)
    skipped = next_payment_sequence - head.next_payment_sequence
    begun = {"now": now, "leased_by": LEASED_BY}
    calls = connection.execute(SQL["count_calls_as_begun"], begun).rowcount
    event = LedgerRecovered(
        why=why, next_account_id=next_account_id, next_payment_sequence=next_payment_sequence, calls=calls
    )
    at = max(now, head.at)
    row = _row(connection, event, at=at)
    moved = Head(head.position, head.digest, at, next_account_id, next_payment_sequence)
    with connection.pipeline():
        appending = append(connection, head, [row], moved=moved)
    reached = appending.check()
    note_server(connection, server)
    done = Recovery(
        position=reached.position,
        skipped=skipped,
        next_account_id=next_account_id,
        next_payment_sequence=next_payment_sequence,
        calls=calls,
    )
    _log.warning("ledger_recovered", why=why, position=done.position, skipped=skipped, calls=calls)
    return done, reached


def _last_change(connection: Connection) -> datetime | None:
    """Return the time of the last event of an account, a payment or a recovery; None without any."""
    row = connection.execute(SQL["read_last_change"], {"operation": OPERATION_STREAM}).fetchone()
    return None if row is None else decode(*row).at


def _row(connection: Connection, event: LedgerRecovered, *, at: datetime) -> Row:
    answer = connection.execute(SQL["read_version"], {"stream": LEDGER_STREAM}).fetchone()
    assert answer is not None
    version = answer[0] + 1
    recorded: Recorded[AnyEvent] = Recorded(
        originator_id=LEDGER_STREAM,
        originator_version=version,
        at=at,
        command_id=new_command_id(),
        cause="recover",
        data=event,
    )
    return Row(LEDGER_STREAM, version, event.TOPIC, encode(recorded))


def _locked(connection: Connection) -> tuple[Head, datetime]:
    """Lock the head, and read the clock after that. Raises LogBroken when the head is missing."""
    row = connection.execute(LOG["lock_head"], binary=True).fetchone()
    clock = connection.execute(LOG["read_clock"]).fetchone()
    if row is None or clock is None:
        raise LogBroken(position=0, what="the head is missing")
    return Head(*row), clock[0]
