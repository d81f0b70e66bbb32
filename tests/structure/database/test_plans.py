"""The writer, the worker, the projector and the API's reads find rows by an index, whatever the table statistics are.

A generic plan does not know its parameters: it assumes that a limit asks for a tenth of all rows. So it may read a
whole table each time for a few rows, and this shows only if the table is large.

Left out are the counts of `service_status` and the sums of `trial_balance`, which read all that they count, and the
statements of `metrics`, `actions` and `readiness`, which read small tables.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, Final

import psycopg
import pytest

import api.queries.pool
import ledger.writer.session
import processors.payments.worker
import projections.engine.projector
from ledger.store.database import Database
from ledger.store.statements import load_statements
from projections.engine.rebuild import rebuild
from projections.models.registry import GROUPS
from tests.benchmarks.load.store_loader import Store, load_store
from tests.support.databases import fresh_ledger

SESSIONS: Final[dict[str, Mapping[str, str]]] = {
    "writer": ledger.writer.session.SETTINGS,
    "worker": processors.payments.worker.SESSION,
    "projector": projections.engine.projector._SESSION,
    "api": api.queries.pool._SESSION | {"default_transaction_read_only": "off"},
}

FILES: Final = (
    *(("writer", "ledger.store", name) for name in ("log", "gateway_queue")),
    ("writer", "ledger.writer", "writer"),
    ("worker", "processors.payments", "worker"),
    *(("projector", "projections.models", model.name) for group in GROUPS for model in group.models),
    ("projector", "projections.engine", "tracking"),
    *(("api", "api.queries", name) for name in ("accounts", "payments")),
    ("api", "api.resources", "dead_letters"),
)

NO_QUERIES: Final = {"begin", "begin_reading", "commit", "unlisten"}
OF_A_FEW_ROWS: Final = {
    *(
        "log_head",
        "ledger_identity",
        "store_origin",
        "gateway_state",
        "store_retirement",
        "projection_tracking",
        "heartbeats",
        "dead_letter",
    ),
}

_PLACEHOLDER: Final = re.compile(r"%\((\w+)\)[sb]")
_TEMPLATE: Final = re.compile(r"\{(\w+)\}")


@pytest.fixture(scope="module")
def grown(postgres_url: str) -> Iterator[Database]:
    """Yield a store of some size, with a long queue and with table statistics."""
    with fresh_ledger(postgres_url) as database:
        load_store(database, Store(events=20_000, accounts=200, long_account=2_000))
        rebuild(database)
        with closing(database.connect(application="test", owner=True)) as owner:
            owner.execute(
                "INSERT INTO gateway_queue SELECT 1024 * (n + 1000000), 1 + n %% 200, 'deposit', 100, 2, 'USD', 1,"
                " 'payment-' || n, 0, 'pay', 0, false, 1, now() - n * interval '1 ms' FROM generate_series(1, %s) AS n",
                [20_000],
            )
            owner.execute(f"SET search_path = {database.schema}")
            for (table,) in owner.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'",
                [database.schema],
            ).fetchall():
                owner.execute(f"ANALYZE {table}")
        yield database


def statements(package: str, file: str) -> dict[str, str]:
    """The queries of a file as the server gets them, with numbered parameters."""
    return {
        name: numbered(statement)
        for name, statement in load_statements(package, f"{file}.sql").items()
        if name not in NO_QUERIES
    }


def numbered(statement: str) -> str:
    """Replace a statement's parameters by $1, $2 and so on, and a template's tables by their plain names."""
    names: list[str] = []

    def number(found: re.Match[str]) -> str:
        if found[1] not in names:
            names.append(found[1])
        return f"${names.index(found[1]) + 1}"

    return _PLACEHOLDER.sub(number, _TEMPLATE.sub(r"\1", statement)).replace("%%", "%")


def offences(node: dict[str, Any], *, limited: bool = False) -> Iterator[str]:
    """The nodes of a plan that read too much: whole tables, and indexes without a condition or a limit."""
    kind, table = node["Node Type"], node.get("Relation Name")
    by_index = kind in {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}
    whole = kind == "Seq Scan" or (by_index and "Index Cond" not in node and not limited)
    if whole and table not in OF_A_FEW_ROWS:
        yield f"{kind} of {table}"
    for child in node.get("Plans", ()):
        yield from offences(child, limited=kind == "Limit" or (limited and kind == "LockRows"))


def plan(connection: psycopg.Connection[Any], statement: str) -> dict[str, Any]:
    """The generic plan, which does not know the parameters."""
    row = connection.execute(f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {statement}".encode()).fetchone()
    assert row is not None
    found: dict[str, Any] = row[0][0]["Plan"]
    return found


@pytest.mark.parametrize(("session", "package", "file"), FILES, ids=lambda word: word)
def test_a_statement_reads_only_the_rows_that_it_needs(grown: Database, session: str, package: str, file: str) -> None:
    """It reads no table and no index from end to end."""
    conninfo = grown.conninfo(application="test", options=SESSIONS[session])
    with closing(psycopg.connect(conninfo, autocommit=True)) as connection:
        found = {name: list(offences(plan(connection, text))) for name, text in statements(package, file).items()}

    assert found
    assert {name: offended for name, offended in found.items() if offended} == {}


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT count(*) FROM events WHERE state = $1",
        "SELECT payment_id FROM gateway_queue ORDER BY due_at",
        "SELECT count(*) FROM gateway_queue AS q JOIN payment_status AS p USING (payment_id)",
    ],
)
def test_a_plan_that_reads_too_much_is_found(grown: Database, statement: str) -> None:
    """Without this test the rule would prove nothing."""
    with closing(psycopg.connect(grown.conninfo(application="test"), autocommit=True)) as connection:
        assert list(offences(plan(connection, statement)))
