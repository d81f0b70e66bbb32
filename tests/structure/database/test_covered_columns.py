"""Every column of every table is recomputed by the audit, bounded by it, or free for a reason that is written down.

The columns come from the catalogue of a migrated database, so a new one must be covered. Each covered column gets a
hostile value, and the audit has to find it.
"""

from collections.abc import Iterator
from typing import Final

import pytest

from api.operator.verification import verify
from ledger.audit.findings import AuditReport
from ledger.audit.verify import verify_store
from projections.contract.read_model import SET_ASIDE
from projections.engine.rebuild import rebuild
from projections.engine.verify import covered_columns
from projections.models.registry import GROUPS
from tests.support.ledgers.busy import EVENTS
from tests.support.ledgers.kept import KeptStore, kept_store

READ_MODELS: Final = {table.name: table for group in GROUPS for table in group.tables} | {SET_ASIDE.name: SET_ASIDE}
COVERED: Final = covered_columns()

CATALOGUE: Final = """
    SELECT c.relname, a.attname
      FROM pg_class AS c
      JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') AND c.relname NOT LIKE 'kept_%'
"""

PARTS: Final = "INSERT INTO heartbeats VALUES ('worker', 'host-1-a', now()), ('projector', 'host-2-b', now())"


@pytest.fixture(scope="module")
def busy(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind, its read models, and the heartbeats of its parts."""
    with kept_store(postgres_url) as store:
        rebuild(store.database)
        store.run(PARTS)
        yield store


@pytest.fixture
def store(busy: KeptStore) -> Iterator[KeptStore]:
    """Yield the same store, and restore it afterwards."""
    yield busy
    busy.restore()
    busy.run("DELETE FROM heartbeats", PARTS)


def test_every_column_is_covered(store: KeptStore) -> None:
    """None is left out, none is declared that is not there, and a free one says why."""
    there = set(store.ask(CATALOGUE))

    assert there == {(table, column) for table, columns in COVERED.items() for column in columns}
    assert [each.by for columns in COVERED.values() for each in columns.values() if not each.by] == []


def test_a_right_store_has_no_findings(store: KeptStore) -> None:
    """Otherwise the findings below would prove nothing."""
    report = verify(store.database)

    assert report.errors == []
    assert report.ok


# --- the store -------------------------------------------------------------------------------------------------------

CLAIMED: Final = "attempt = attempt + (action = 'pay')::int"
"""The other change of a worker's claim, beside the lease."""

HOSTILE: Final = [
    ("events", "originator_id", "originator_id || 'x'"),
    ("events", "originator_version", "originator_version + 99"),
    ("events", "topic", "topic || 'x'"),
    ("events", "state", "state || ' '"),
    ("events", "notification_id", "notification_id + 9999"),
    ("events", "digest", r"'\x00'"),
    ("ledger_identity", "ledger_id", "gen_random_uuid()"),
    ("ledger_identity", "partition", "1, partitions = 2, group_id = gen_random_uuid()"),
    ("ledger_identity", "partitions", "2, group_id = gen_random_uuid()"),
    ("gateway_state", "gateway", "gateway || 'x'"),
    ("gateway_state", "paused_at", "now(), paused_why = 'x'"),
    ("gateway_state", "paused_why", "'x', paused_at = now()"),
    ("gateway_state", "paused_by", "'x'"),
    ("gateway_state", "opened_at", "now(), opened_why = 'x', probe_at = now()"),
    ("gateway_state", "opened_why", "'x', opened_at = now(), probe_at = now()"),
    ("gateway_state", "opened_by", "'x'"),
    ("gateway_state", "probe_at", "'infinity', opened_at = now(), opened_why = 'x'"),
    ("gateway_state", "held_until", "'infinity'"),
    ("gateway_state", "held_until", "now() + interval '3 days'"),
    ("log_head", "position", "position + 1"),
    ("log_head", "digest", r"'\x00'"),
    ("log_head", "at", "timestamptz '2999-01-01 UTC'"),
    ("log_head", "at", "'infinity'"),
    ("log_head", "at", "'-infinity'"),
    ("log_head", "at", "now() + interval '2 minutes'"),
    ("log_head", "next_account_id", "next_account_id + 1"),
    ("log_head", "next_payment_sequence", "next_payment_sequence + 1"),
    ("snapshots", "originator_id", "'account-99'"),
    ("snapshots", "originator_version", "originator_version + 9999"),
    ("snapshots", "state", "'{'"),
    ("idempotency_keys", "scope", "scope || 'x'"),
    ("idempotency_keys", "key", "key || 'x'"),
    ("idempotency_keys", "subject_kind", "CASE subject_kind WHEN 'account' THEN 'payment' ELSE 'account' END"),
    ("idempotency_keys", "subject_id", "subject_id + 1"),
    ("idempotency_keys", "fingerprint_version", "fingerprint_version + 1"),
    ("idempotency_keys", "fingerprint", "fingerprint || 'x'"),
    ("gateway_queue", "payment_id", "payment_id + 1024 * 999"),
    ("gateway_queue", "account_id", "account_id + 1"),
    ("gateway_queue", "kind", "CASE kind WHEN 'deposit' THEN 'withdraw' ELSE 'deposit' END"),
    ("gateway_queue", "amount_minor", "amount_minor + 1"),
    ("gateway_queue", "fee_minor", "fee_minor - 1"),
    ("gateway_queue", "currency", "'XXX'"),
    ("gateway_queue", "series", "series + 1"),
    ("gateway_queue", "gateway_key", "'payment-1'"),
    ("gateway_queue", "attempt", "1000000"),
    ("gateway_queue", "action", "CASE action WHEN 'pay' THEN 'inquire' ELSE 'pay' END"),
    ("gateway_queue", "inquiries", "1000000"),
    ("gateway_queue", "unknown", "NOT unknown"),
    ("gateway_queue", "payment_version", "payment_version + 9"),
    ("gateway_queue", "due_at", "timestamptz '2999-01-01 UTC'"),
    ("gateway_queue", "due_at", "'infinity'"),
    ("gateway_queue", "due_at", "'-infinity'"),
    ("gateway_queue", "leased_until", f"'infinity', leased_by = 'x', {CLAIMED}"),
    ("gateway_queue", "leased_until", f"now() + interval '25 hours', leased_by = 'x', {CLAIMED}"),
    ("gateway_queue", "leased_by", f"repeat('x', 301), leased_until = now(), {CLAIMED}"),
    ("gateway_queue", "trace_context", "repeat('x', 1001)"),
    ("heartbeats", "part", "'somebody'"),
    ("heartbeats", "instance", "instance || repeat('x', 300)"),
    ("heartbeats", "at", "'infinity'"),
    ("heartbeats", "at", "timestamptz '2999-01-01 UTC'"),
]
"""A hostile value for each column of the store; of the gateway queue, in every row."""

HELD_ELSEWHERE: Final = {
    *(
        ("ledger_identity", "only_row"),
        ("log_head", "only_row"),
        ("store_origin", "only_row"),
        ("store_retirement", "only_row"),
    ),  # by a check of the table
    ("schema_migrations", "id"),  # by the start of every part
}


def positions_are_told(store: KeptStore, report: AuditReport) -> bool:
    """Whether each finding has a sentence and a position that the store has: of an event, or of the head."""
    ((last,),) = store.ask("SELECT greatest(max(notification_id), (SELECT position FROM log_head)) FROM events")
    return all(error.what and 0 <= error.position <= last for error in report.errors)


@pytest.mark.parametrize(("table", "column", "value"), HOSTILE)
def test_a_hostile_value_in_the_store_is_found(store: KeptStore, table: str, column: str, value: str) -> None:
    """With a position and a sentence, as every finding."""
    one_row = table in {"events", "snapshots", "idempotency_keys", "heartbeats"}
    row = f"WHERE ctid = (SELECT ctid FROM {table} ORDER BY 1 DESC LIMIT 1)" if one_row else ""
    store.run(f"UPDATE {table} SET {column} = {value} {row}")

    report = verify_store(store.database)

    assert not report.ok
    assert positions_are_told(store, report)


def test_every_column_of_the_store_gets_a_hostile_value() -> None:
    """Unless it is free, or held by something else than the audit."""
    tried = {(table, column) for table, column, _ in HOSTILE}

    assert tried | HELD_ELSEWHERE == {
        (table, column)
        for table, columns in COVERED.items()
        for column, coverage in columns.items()
        if table not in READ_MODELS and table != "projection_tracking" and coverage.how != "free"
    }


# --- where the groups stand ------------------------------------------------------------------------------------------

TRACKING: Final = [
    ("name", "'nobody'", "nobody is not a group of read models"),
    ("position", "999999", f"counters stands at position 999999, and the log ends at {EVENTS}"),
    ("models", "'{payment_end}'", "counters of counters was not filled from the log; a rebuild fills it"),
    ("models", "'{counters,payment_end,more}'", "counters names models that it does not have"),
    ("leader", "repeat('x', 301)", "the leader of counters has no name of an instance"),
    ("leader_until", "'infinity'", "the leadership of counters lasts until infinity"),
    ("leader_until", "now() + interval '2 hours'", "the leadership of counters lasts until "),
    ("updated_at", "'infinity'", "counters was moved at infinity"),
    ("stopped_at_position", "7, stopped_because = 'x'", "counters is stopped at position 7: x"),
    ("stopped_because", "'x'", "counters gives a reason for a stop and is not stopped"),
]


@pytest.mark.parametrize(("column", "value", "what"), TRACKING)
def test_a_hostile_value_of_a_groups_standing_is_found(store: KeptStore, column: str, value: str, what: str) -> None:
    """A leadership until infinity stops the read models for ever."""
    store.run("CREATE TEMPORARY TABLE kept_tracking AS TABLE projection_tracking")
    store.run(f"UPDATE projection_tracking SET {column} = {value} WHERE name = 'counters'")

    try:
        report = verify(store.database)
    finally:
        store.run("DELETE FROM projection_tracking", "INSERT INTO projection_tracking TABLE kept_tracking")
        store.run("DROP TABLE kept_tracking")
    assert what in {error.what[: len(what)] for error in report.errors}
    assert positions_are_told(store, report)


def test_every_column_of_a_groups_standing_gets_a_hostile_value() -> None:
    """None of them is free."""
    assert {column for column, *_ in TRACKING} == set(COVERED["projection_tracking"])


# --- the read models -------------------------------------------------------------------------------------------------


def test_a_rebuild_compares_every_column_of_a_read_model() -> None:
    """`tests/projections/engine/test_verify.py` changes rows; here the comparison leaves no column out."""
    assert {name: set(COVERED[name]) for name in READ_MODELS} == {
        name: set(table.columns) for name, table in READ_MODELS.items()
    }
    assert {each.how for name in READ_MODELS for each in COVERED[name].values()} == {"recomputed"}
