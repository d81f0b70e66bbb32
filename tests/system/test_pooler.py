"""The whole service behind Debian's pgbouncer, which drops the start-up options of its clients."""

from pathlib import Path

import psycopg
import pytest

from tests.chaos.payer import open_users
from tests.support.consistency import differences
from tests.support.databases import fresh_database
from tests.support.servers.pgbouncer import needs_pgbouncer, pgbouncer_before
from tests.support.services import Client, Service, serving

pytestmark = [pytest.mark.timeout(300), needs_pgbouncer]


def test_the_service_works_behind_a_pooler_of_sessions(tmp_path: Path, postgres_url: str) -> None:
    """Payments settle, the books are right, and nothing is made outside the ledger's schema."""
    extra = "default_pool_size = 100"
    with (
        fresh_database(postgres_url) as url,
        pgbouncer_before(url, pool_mode="session", extra=extra) as pooled,
        serving(tmp_path, DATABASE_URL=pooled) as service,
        Client(service.url) as client,
    ):
        openings = open_users(client, 4)
        answers = [client.post("/payments/deposit", {"user_id": 1 + n % 4, "deposit": 10}) for n in range(40)]
        payment_ids = [answer.json()["payment_id"] for answer in answers]
        client.settled(payment_ids)
        found = differences(client, openings, payment_ids)
        with psycopg.connect(url) as direct:
            schemas = direct.execute("SELECT DISTINCT schemaname FROM pg_tables ORDER BY 1").fetchall()

    assert {answer.status_code for answer in answers} == {202}
    assert found == []
    assert [name for (name,) in schemas if name not in {"pg_catalog", "information_schema"}] == [
        "demo_gateway",
        "ledger",
    ]


def test_a_start_behind_a_pooler_of_transactions_ends_with_the_reason(tmp_path: Path, postgres_url: str) -> None:
    """Nothing is made in the database."""
    with fresh_database(postgres_url) as url, pgbouncer_before(url, pool_mode="transaction") as pooled:
        service = Service(tmp_path, DATABASE_URL=pooled)
        ended = service.run("serve")
        with psycopg.connect(url) as direct:
            made = direct.execute("SELECT to_regnamespace('ledger')").fetchone()

    assert ended.returncode == 1
    assert "it must pool whole sessions" in ended.stderr
    assert made == (None,)
