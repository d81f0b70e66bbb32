"""Holds a real store against the model ledger: every table of it, after every step.

What the projector does in a loop of its own is done here step by step with its own code: pages are read, and applied
under a lease. The seals are recomputed from their description, byte by byte, and not by the program's own function.
"""

import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any, Final

from psycopg import Connection
from psycopg.rows import dict_row

from ledger.database import Database
from projections.groups import GROUPS
from projections.page import read_page
from projections.tracking import Lease
from tests.model import Model
from tests.model_books import Payment

PATIENCE_SECONDS: Final = 60.0
ENDS: Final = {"payment.succeeded", "payment.failed"}

_EMPTY: Final = """
TRUNCATE events, snapshots, idempotency_keys, gateway_queue,
         payment_status, account_balance, journal, dead_letter, counters;
UPDATE head SET position = 0, digest = sha256(uuid_send((SELECT ledger_id FROM identity))),
       next_account_id = 1, next_payment_sequence = 0;
UPDATE tracking SET position = 0, leader = NULL, leader_until = NULL, stopped_at_position = NULL, stopped_because = NULL
"""


class Store:
    """A ledger's tables, as its owner sees them."""

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

    def begin_anew(self) -> None:
        """Empty everything, as only the owner may."""
        self._owner.execute(_EMPTY)
        self._seal = bytes(self._rows("SELECT digest FROM head")[0]["digest"])
        self._position, self._at = 0, None
        self._versions.clear()
        self._story.clear()

    def cut(self, backends: Iterable[int]) -> None:
        """End sessions, as an administrator, a firewall or a restart of the server may."""
        for backend in backends:
            self._rows(f"SELECT pg_terminate_backend({backend}, 5000)")

    @contextmanager
    def head_locked(self) -> Iterator[Callable[[int], None]]:
        """Hold up all writers; give a function that waits until so many stand in line, and then let them go in turn."""
        with closing(self.database.connect(application="payment-ledger tests")) as holder, holder.transaction():
            holder.execute("SELECT FROM head FOR UPDATE")
            yield lambda count: self._await_line(holder.info.backend_pid, count)

    def _await_line(self, holder: int, count: int) -> None:
        """Wait until so many sessions stand in line: the first behind the holder, each other behind the one before."""
        line = [holder]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(line) <= count:
            assert time.monotonic() < deadline, "nobody came"
            behind = f"SELECT pid FROM pg_stat_activity WHERE {line[-1]} = ANY (pg_blocking_pids(pid))"
            line += [row["pid"] for row in self._rows(behind) if row["pid"] not in line][:1]

    def _rows(self, query: str) -> list[dict[str, Any]]:
        return self._owner.execute(query.encode(), prepare=True).fetchall()

    # --- the log ---

    def check_log(self, model: Model) -> None:
        """Read what is new in the log and hold it against what has to be there."""
        rows = self._rows(f"SELECT * FROM events WHERE notification_id > {self._position} ORDER BY notification_id")
        for row in rows:
            self._check_event(row)
        recorded = [(row["originator_id"], row["topic"]) for row in rows]
        assert model.log[self._position - len(rows) :] == recorded
        head = self._rows("SELECT * FROM head")[0]
        assert (head["position"], bytes(head["digest"])) == (self._position, self._seal)
        assert head["next_account_id"] == len(model.users) + 1
        assert head["next_payment_sequence"] == len(model.payments)

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
        """At any moment a payment has at most one end, and its success may follow a failure only when reconciled."""
        story = self._story[stream]
        ends = [earlier for earlier in story if earlier in {*ENDS, "payment.requeued"}][-1:]
        if topic in ENDS and ends and ends != ["payment.requeued"]:
            assert (ends, topic, data["ended_by"]) == (["payment.failed"], "payment.succeeded", "reconciliation")
            assert "payment.contradicted" in story
        assert topic != "payment.requeued" or ends == ["payment.failed"]
        story.append(topic)

    # --- the read models ---

    def project(self, page_max: int) -> None:
        """Apply the log to the read models, as the projector does, in pages of at most so many events."""
        lease = Lease(leader="state machine", duration=timedelta(seconds=60))
        standings = lease.lead(self._service)
        for group in GROUPS:
            position = standings[group.name].position
            while (page := read_page(self._service, after=position, size=page_max)).events:
                assert page.fault is None, page.fault
                position = lease.apply(self._service, group, position, page.events)

    def check_tables(self, model: Model) -> None:
        """Hold every table against the model; the read models are to have been projected before."""
        with self._owner.pipeline():
            cursors = {
                table: self._owner.execute(f"SELECT * FROM {table}".encode(), prepare=True)
                for table in (
                    "account_balance",
                    "payment_status",
                    "dead_letter",
                    "journal",
                    "counters",
                    "gateway_queue",
                    "idempotency_keys",
                )
            }
        tables = {table: cursor.fetchall() for table, cursor in cursors.items()}
        check_money(model, tables["account_balance"], tables["journal"])
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
            payment.payment_id: _to_be_queued(payment) for payment in model.payments.values() if payment.under_way
        }
        assert {(row["scope"], row["key"]): row["subject_id"] for row in tables["idempotency_keys"]} == {
            place: answer.get("payment_id", answer["account_id"]) for place, (_, answer) in model.keys.items()
        }


def check_money(model: Model, accounts: list[dict[str, Any]], journal: list[dict[str, Any]]) -> None:
    """Hold balances and books against the model, and each against the other."""
    sums: Counter[str] = Counter()
    running: Counter[int] = Counter()
    for row in sorted(journal, key=lambda row: row["position"]):
        postings = [row[f"{name}_minor"] for name in ("customer", "gateway_clearing", "fee_revenue", "opening_equity")]
        assert sum(postings) == 0
        sums[row["currency"]] += sum(postings)
        running[row["account_id"]] -= row["customer_minor"]
        assert row["balance_after_minor"] == running[row["account_id"]]
    assert not any(sums.values())
    assert sorted((row["position"], *_entry(row)) for row in journal) == [
        (
            entry.position,
            entry.user_id,
            entry.payment_id,
            entry.currency,
            entry.customer,
            entry.gateway_clearing,
            entry.fee_revenue,
            entry.opening_equity,
        )
        for entry in model.journal
    ]
    for row in accounts:
        assert 0 <= row["held_minor"] <= row["posted_minor"] == running[row["account_id"]]
    assert {row["account_id"]: (row["posted_minor"], row["held_minor"], row["version"]) for row in accounts} == {
        user_id: (model.balance(user_id), model.held(user_id), model.version(f"account-{user_id}"))
        for user_id in model.users
    }


def seal(before: bytes, position: int, stream: str, version: int, topic: str, state: bytes) -> bytes:
    """Compute a seal from its description: a digest over the one before, two numbers, three lengths, three texts."""
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


def _entry(row: dict[str, Any]) -> tuple[Any, ...]:
    names = ("account_id", "payment_id", "currency", "customer_minor", "gateway_clearing_minor")
    return tuple(row[name] for name in (*names, "fee_revenue_minor", "opening_equity_minor"))


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
        "attempt": payment.attempts,
        "action": payment.next_call,
        "unknown": payment.maybe_moved,
    }
