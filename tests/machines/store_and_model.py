"""Compare every table of a real store with the model ledger, after every step.

The projector's loop is run here step by step with its own code: pages are read, and applied under a lease. Seals are
recomputed from their description, byte by byte, and not by the program's own function.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

from ledger.store.database import Database
from projections.contract.log_page import read_page
from projections.engine.tracking import Lease
from projections.models.registry import GROUPS, TABLES
from tests.model.ledger import Model
from tests.model.state import Payment

WAIT_SECONDS_MAX: Final = 60.0
ENDS: Final = {"payment.succeeded", "payment.failed"}

_EMPTY: Final = f"""
TRUNCATE events, snapshots, idempotency_keys, gateway_queue, {", ".join(TABLES)};
UPDATE log_head SET position = 0, digest = sha256(uuid_send((SELECT ledger_id FROM ledger_identity))),
       next_account_id = 1, next_payment_sequence = 0;
UPDATE projection_tracking SET position = 0, leader = NULL, leader_until = NULL, stopped_at_position = NULL,
       stopped_because = NULL
"""

_OWN_TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"


@dataclass(frozen=True)
class Backup:
    """The tables of a store at one time, and the facts that were known of its log."""

    rows: dict[str, bytes]
    known: tuple[int, bytes, datetime | None, Counter[str], defaultdict[str, list[str]]]


class Store:
    """A ledger's tables, read as their owner."""

    def __init__(self, database: Database, owner: Connection[Any], service: Connection[Any]) -> None:
        self.database = database
        self._owner = owner
        self._service = service
        self._owner.row_factory = dict_row
        self._position = 0
        self._seal = b""
        self._at: datetime | None = None
        self._versions: Counter[str] = Counter()
        self._story: defaultdict[str, list[str]] = defaultdict(list)

    def reset(self) -> None:
        """Empty all tables, as only the owner may."""
        self._owner.execute(_EMPTY)
        self._seal = bytes(self._rows("SELECT digest FROM log_head")[0]["digest"])
        self._position, self._at = 0, None
        self._versions.clear()
        self._story.clear()

    def back_up(self) -> "Backup":
        """Copy all tables, and what is known of the log so far."""
        tables = [
            row["tablename"]
            for row in self._rows("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
        ]
        rows = {}
        for table in tables:
            with self._owner.cursor().copy(f"COPY {table} TO STDOUT (FORMAT binary)".encode()) as copy:
                rows[table] = b"".join(bytes(block) for block in copy)
        known = (self._position, self._seal, self._at, self._versions, self._story)
        return Backup(rows, deepcopy(known))

    def put_back(self, backup: "Backup") -> None:
        """Put the tables back as they were. Nobody may be connected who believes in later events."""
        with self._owner.transaction():
            self._owner.execute(f"TRUNCATE {', '.join(backup.rows)}".encode())
            for table, rows in backup.rows.items():
                with self._owner.cursor().copy(f"COPY {table} FROM STDIN (FORMAT binary)".encode()) as copy:
                    copy.write(rows)
        self._position, self._seal, self._at, self._versions, self._story = deepcopy(backup.known)

    def cut(self, backends: Iterable[int]) -> None:
        """Terminate sessions, as an administrator, a firewall or a restart of the server may."""
        for backend in backends:
            self._rows(f"SELECT pg_terminate_backend({backend}, 5000)")

    @contextmanager
    def head_locked(self) -> Iterator[Callable[[int], None]]:
        """Block all writers.

        Yields a function that waits until so many of them queue for the head. They go in that order when the block
        ends.
        """
        with closing(self.database.connect(application="payment-ledger tests")) as holder, holder.transaction():
            holder.execute("SELECT FROM log_head FOR UPDATE")
            yield lambda count: self._await_line(holder.info.backend_pid, count)

    def _await_line(self, holder: int, count: int) -> None:
        """Wait until so many sessions queue: the first one behind the holder, each other one behind the one before."""
        line = [holder]
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while len(line) <= count:
            assert time.monotonic() < deadline, "nobody came"
            behind = f"SELECT pid FROM pg_stat_activity WHERE {line[-1]} = ANY (pg_blocking_pids(pid))"
            line += [row["pid"] for row in self._rows(behind) if row["pid"] not in line][:1]

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return self._owner.execute(query.encode(), prepare=True).fetchall()

    # --- the log ---

    def check_log(self, model: Model) -> None:
        """Read the new events of the log and compare them with the model's."""
        rows = self._rows(f"SELECT * FROM events WHERE notification_id > {self._position} ORDER BY notification_id")
        for row in rows:
            self._check_event(row)
        recorded = [(row["originator_id"], row["topic"]) for row in rows]
        assert model.log[self._position - len(rows) :] == recorded
        head = self._rows("SELECT * FROM log_head")[0]
        assert (head["position"], bytes(head["digest"])) == (self._position, self._seal)
        assert head["next_account_id"] == model.next_user_id
        assert head["next_payment_sequence"] == model.next_sequence

    def _check_event(self, row: dict[str, Any]) -> None:
        stream, topic, state = row["originator_id"], row["topic"], bytes(row["state"])
        self._position += 1
        self._versions[stream] += 1
        assert (row["notification_id"], row["originator_version"]) == (self._position, self._versions[stream])
        self._seal = seal(self._seal, self._position, stream, self._versions[stream], topic, state)
        assert bytes(row["digest"]) == self._seal
        facts = json.loads(state)
        at = datetime.fromisoformat(facts["at"])
        assert self._at is None or at >= self._at
        self._at = at
        if topic.startswith("payment."):
            self._check_end(stream, topic, facts["data"])

    def _check_end(self, stream: str, topic: str, data: dict[str, Any]) -> None:
        """A payment has at most one end at a time, and may succeed after a failure only by reconciliation."""
        story = self._story[stream]
        ends = [earlier for earlier in story if earlier in {*ENDS, "payment.requeued"}][-1:]
        if topic in ENDS and ends and ends != ["payment.requeued"]:
            assert (ends, topic, data["ended_by"]) == (["payment.failed"], "payment.succeeded", "reconciliation")
            assert "payment.contradicted" in story
        assert topic != "payment.requeued" or ends == ["payment.failed"]
        story.append(topic)

    # --- the read models ---

    def project(self, page_max: int) -> None:
        """Apply the log to the read models, as the projector does, in pages of at most `page_max` events."""
        lease = Lease(leader="state machine", duration=timedelta(seconds=60))
        standings = lease.lead(self._service)
        for group in GROUPS:
            position = standings[group.name].position
            while (page := read_page(self._service, after=position, size=page_max)).events:
                assert page.fault is None, page.fault
                position = lease.apply(self._service, group, position, page.events)

    def check_tables(self, model: Model) -> None:
        """Compare every table with the model. The read models must have been projected before."""
        with self._owner.pipeline():
            cursors = {
                table: self._owner.execute(f"SELECT * FROM {table}".encode(), prepare=True)
                for table in (*TABLES, "gateway_queue", "idempotency_keys")
            }
        tables = {table: cursor.fetchall() for table, cursor in cursors.items()}
        check_money(model, tables["account_balance"], tables["journal_entry"], tables["journal_posting"])
        assert {row["payment_id"]: _status(row) for row in tables["payment_status"]} == {
            payment_id: {**_terms(payment), **model.status(payment_id), "state": payment.state}
            for payment_id, payment in model.payments.items()
        }
        assert {row["payment_id"]: _letter(row) for row in tables["dead_letter"]} == {
            payment_id: {**_terms(model.payments[payment_id]), **letter}
            for payment_id, letter in model.letters().items()
        }
        assert {row["name"]: row["value"] for row in tables["counters"]} == {
            name: count for name, count in model.counters.items() if count
        }
        assert {row["payment_id"]: _queued(row) for row in tables["gateway_queue"]} == {
            payment.payment_id: _to_be_queued(payment) for payment in model.payments.values() if payment.next_call
        }
        assert {(row["scope"], row["key"]): row["subject_id"] for row in tables["idempotency_keys"]} == {
            place: answer["payment_id"] if "payment_id" in answer else answer["account_id"]
            for place, (_, answer) in model.keys.items()
        }


def check_money(
    model: Model, accounts: list[dict[str, Any]], entries: list[dict[str, Any]], postings: list[dict[str, Any]]
) -> None:
    """Compare balances and journal with the model, and with each other."""
    of_entry: defaultdict[tuple[int, str], list[dict[str, Any]]] = defaultdict(list)
    running: Counter[int] = Counter()
    for row in sorted(postings, key=lambda row: (row["position"], row["number"])):
        assert row["direction"] in {"debit", "credit"}
        assert row["amount_minor"] > 0 or (row["amount_minor"], row["account"]) == (0, "customer")
        of_entry[row["position"], row["currency"]].append(row)
        if row["account"] == "customer":
            running[row["account_id"]] -= signed(row)
            assert row["balance_after_minor"] == running[row["account_id"]]
        assert row["gateway"] == ("default" if row["account"] == "gateway_clearing" else None)
    for row in entries:
        mine = of_entry[row["position"], row["currency"]]
        debits = sum(posting["amount_minor"] for posting in mine if posting["direction"] == "debit")
        assert row["debit_minor"] == row["credit_minor"] == debits
        assert sum(signed(posting) for posting in mine) == 0
    assert sorted(_entry(row, of_entry[row["position"], row["currency"]]) for row in entries) == [
        (
            entry.position,
            entry.user_id,
            entry.payment_id,
            entry.currency,
            entry.customer,
            entry.gateway_clearing,
            entry.fee_revenue,
            entry.opening_equity,
            entry.suspense,
        )
        for entry in model.journal
    ]
    assert len(entries) == len(of_entry)
    for row in accounts:
        assert 0 <= row["held_minor"] <= row["posted_minor"] == running[row["account_id"]]
    assert {row["account_id"]: (row["posted_minor"], row["held_minor"], row["version"]) for row in accounts} == {
        user_id: (model.balance(user_id), model.held(user_id), model.version(f"account-{user_id}"))
        for user_id in model.users
    }


def signed(posting: dict[str, Any]) -> int:
    """A posting as the model counts: debits above zero, credits below."""
    amount: int = posting["amount_minor"]
    return amount if posting["direction"] == "debit" else -amount


def seal(before: bytes, position: int, stream: str, version: int, topic: str, state: bytes) -> bytes:
    """Compute a seal from its description: SHA-256 of the previous seal, two numbers, three lengths and three texts."""
    texts = [stream.encode(), topic.encode(), state]
    numbers = [number.to_bytes(8, "big", signed=True) for number in (position, version)]
    lengths = [len(text).to_bytes(4, "big") for text in texts]
    return sha256(b"".join([before, *numbers, *lengths, *texts])).digest()


@contextmanager
def opened(database: Database) -> Iterator[Store]:
    """Open a store for the length of a block."""
    with (
        closing(database.connect(application="payment-ledger tests", owner=True)) as owner,
        closing(database.connect(application="payment-ledger tests")) as service,
    ):
        yield Store(database, owner, service)


def _entry(entry: dict[str, Any], postings: list[dict[str, Any]]) -> tuple[Any, ...]:
    """An entry as the model has it: its one customer, and the sum of each account."""
    account_id = max((row["account_id"] for row in postings if row["account"] == "customer"), default=None)
    sums: Counter[str] = Counter()
    for row in postings:
        sums[row["account"]] += signed(row)
    names = ("customer", "gateway_clearing", "fee_revenue", "opening_equity", "suspense")
    assert set(sums) <= set(names)
    place = (entry["position"], account_id, entry["payment_id"], entry["currency"])
    return (*place, *(sums[name] for name in names))


def _terms(payment: Payment) -> dict[str, Any]:
    return {
        "account_id": payment.user_id,
        "kind": payment.kind,
        "amount_minor": payment.amount,
        "fee_minor": payment.fee,
        "currency": payment.currency,
    }


def _status(row: dict[str, Any]) -> dict[str, Any]:
    names = ("account_id", "kind", "amount_minor", "fee_minor", "currency", "status", "attempts", "last_error", "state")
    return {name: row[name] for name in names} | {"next_call_known": row["next_retry_at"] is not None}


def _letter(row: dict[str, Any]) -> dict[str, Any]:
    names = ("account_id", "kind", "amount_minor", "fee_minor", "currency", "position", "state", "error", "attempts")
    return {name: row[name] for name in names}


def _queued(row: dict[str, Any]) -> dict[str, Any]:
    names = ("account_id", "kind", "amount_minor", "fee_minor", "currency", "series", "gateway_key", "attempt")
    return {name: row[name] for name in (*names, "action", "unknown")}


def _to_be_queued(payment: Payment) -> dict[str, Any]:
    return {
        **_terms(payment),
        "series": payment.series,
        "gateway_key": payment.gateway_key,
        "attempt": payment.queued_attempts,
        "action": payment.next_call,
        "unknown": payment.maybe_moved,
    }
