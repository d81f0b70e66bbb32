"""Checks the columns that no event tells, against bounds: a lease, the time of a heartbeat, the number of inquiries.

The service's own role may write them, and a value out of its bounds stops money or reads as surely as a wrong event: a
lease until infinity keeps every worker from a payment. No setting allows a value beyond a bound, and the time is the
database's clock.

`STORE_COLUMNS` says of every column of the store how the audit covers it. A test compares it with the catalogue of a
migrated database, and the reference page of tables shows it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final, Literal, get_args

import psycopg
from msgspec import Struct

from ledger.audit.check_events import DELAY_MAX, FIRST_TIME
from ledger.audit.findings import Findings
from ledger.domain.events import TEXT_CHARACTERS_MAX
from ledger.store.heartbeats import Part
from ledger.store.statements import load_statements

SQL: Final = load_statements("ledger.audit", "bounds.sql")

CLOCKS_APART_MAX: Final = timedelta(minutes=1)
"""How far the clocks of two database servers may be apart, one of which has taken the other's place."""

LEASE_MAX: Final = timedelta(days=1)
"""The longest lease that the settings allow."""

INQUIRIES_MAX: Final = 100_000
"""At the longest interval, an hour, this takes eleven years."""

NAME_CHARACTERS_MAX: Final = 300
"""Longer than the name of an instance can be: a host's name, which has 255 characters at most, and two numbers."""

_BOUNDS: Final[Mapping[str, object]] = {
    "first_time": FIRST_TIME,
    "delay_max": DELAY_MAX,
    "lease_max": LEASE_MAX,
    "clocks_apart_max": CLOCKS_APART_MAX,
    "inquiries_max": INQUIRIES_MAX,
    "name_max": NAME_CHARACTERS_MAX,
    "text_max": TEXT_CHARACTERS_MAX,
    "parts": list(get_args(Part)),
}


def check_queue_bounds(
    connection: psycopg.Connection[Any], findings: Findings, positions: Mapping[int, int], *, position: int
) -> None:
    """Find columns of the gateway queue that are out of their bounds.

    They are reported at the payment's last event, which `positions` has, otherwise at the log's `position`.
    """
    for payment_id, name, value in connection.execute(SQL["queue_out_of_bounds"], _BOUNDS):
        what = f"{name} of payment {payment_id} is {value} in the gateway queue, which is out of its bounds"
        findings.add(positions.get(payment_id, position), what)


def check_clock(connection: psycopg.Connection[Any], findings: Findings, *, position: int) -> None:
    """Find times of the head, of gateways and of heartbeats that the clock is far from, and unknown parts."""
    for (at,) in connection.execute(SQL["head_ahead"], _BOUNDS):
        findings.add(position, f"the head's time is {at}, to which the database's clock has not come")
    for gateway, name, at in connection.execute(SQL["gateways_out_of_bounds"], _BOUNDS):
        findings.add(position, f"{name} of the gateway {gateway[:100]!r} is {at}, which is out of its bounds")
    for part, instance, at in connection.execute(SQL["heartbeats_out_of_bounds"], _BOUNDS):
        findings.add(position, f"the heartbeat of {part} {instance!r} at {at} is not one of a part of the service")


# --- what the audit knows of each column -----------------------------------------------------------------------------


class Coverage(Struct, frozen=True):
    """How the audit covers a column: it is recomputed or bounded by a check, or free for a reason; `by` says which."""

    how: Literal["recomputed", "bounded", "free"]
    by: str


def recomputed(by: str, *columns: str) -> dict[str, Coverage]:
    """Return the coverage of columns that `by` has, so that an audit recomputes them."""
    return dict.fromkeys(columns, Coverage("recomputed", by))


def bounded(by: str, *columns: str) -> dict[str, Coverage]:
    """Return the coverage of columns that an audit holds to the bounds in `by`."""
    return dict.fromkeys(columns, Coverage("bounded", by))


def free(why: str, *columns: str) -> dict[str, Coverage]:
    """Return the coverage of columns that may have any value, and why."""
    return dict.fromkeys(columns, Coverage("free", why))


_SEAL: Final = "from the seals"
_EVENTS: Final = "from the events"

STORE_COLUMNS: Final[Mapping[str, Mapping[str, Coverage]]] = {
    "events": recomputed(_SEAL, "originator_id", "originator_version", "topic", "state", "notification_id", "digest"),
    "ledger_identity": bounded("by its check", "only_row")
    | recomputed(_SEAL, "ledger_id")
    | recomputed("from the ids in the log, which are those of its slots", "partition", "partitions")
    | free("a start of the service compares it over all partitions", "group_id"),
    "log_head": bounded("by its check", "only_row")
    | recomputed(_SEAL, "position", "digest")
    | bounded("not before the last event, and at most a minute ahead of the clock", "at")
    | recomputed(_EVENTS, "next_account_id", "next_payment_sequence")
    | free("an operator's decision, which `status` shows; the service may not write it", "inactive"),
    "snapshots": recomputed(_EVENTS, "originator_id", "originator_version", "state")
    | free("nobody reads a snapshot of another shape", "topic"),
    "idempotency_keys": recomputed(
        _EVENTS, "scope", "key", "subject_kind", "subject_id", "fingerprint_version", "fingerprint"
    ),
    "gateway_queue": recomputed(
        _EVENTS,
        *("payment_id", "account_id", "kind", "amount_minor", "fee_minor", "currency"),
        *("series", "gateway_key", "payment_version", "attempt", "action", "unknown"),
    )
    | bounded("of an inquiry not later than its event says, if one does; at most two days ahead of the clock", "due_at")
    | bounded("0 unless the payment is in doubt, and 100,000 at most; of late ones from the events", "inquiries")
    | bounded("at most a day ahead of the clock", "leased_until")
    | bounded("at most 300 characters", "leased_by")
    | bounded("at most 1,000 characters", "trace_context"),
    "gateway_state": recomputed(
        _EVENTS, "gateway", "paused_at", "paused_why", "paused_by", "opened_at", "opened_why", "opened_by"
    )
    | bounded("at most two days ahead of the clock", "held_until", "probe_at"),
    "heartbeats": bounded("a part of the service", "part")
    | bounded("at most 300 characters", "instance")
    | bounded("at most a minute ahead of the clock", "at"),
    "store_origin": bounded("by its check", "only_row")
    | free("the server on which the store was last written; a wrong one leads to one more recovery", "server"),
    "api_key": free(
        "an operator's decision, which `keys list` shows; no money follows from it",
        *("id", "name", "scopes", "users", "digest", "former_digest", "former_until"),
        *("created_at", "created_by", "expires_at", "revoked_at", "revoked_by", "last_used_at"),
    ),
    "bulk_decision": free(
        "a list that an operator was shown; each decision about a letter of it is an event",
        *("digest", "plan", "made_at", "made_by", "begun_at", "begun_by", "why"),
    ),
    "approval": free(
        "a request that waits for a second key; a decision that was carried out is an event with both keys",
        *("id", "action", "payment_id", "gateway_key", "request", "idempotency_key", "recoveries", "requested_at"),
        *("requested_by", "operator"),
        *("why", "expires_at", "decided_at", "decided_by", "decided_operator", "decision", "result"),
    ),
    "store_retirement": bounded("by its check", "only_row")
    | free("an operator's decision; the service may not write it", "successor", "position", "at"),
    "schema_migrations": bounded("the migrations that the program knows, which it checks at its start", "id")
    | free("nobody reads it", "applied_at")
    | free("an older program reads it at its start; the service may not write it", "beside"),
}
"""How the audit covers each column of each table of the store."""
