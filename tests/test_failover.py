"""A primary that dies with a synchronous standby beside it, which is promoted: nothing that was said is lost."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest

from api.embedded_postgres import EmbeddedPostgres, program
from tests.books import differences
from tests.chaos.fleet import Fleet, fleet_of
from tests.chaos.payer import Payer, open_users, wait_for_answers
from tests.services import Client

pytestmark = pytest.mark.timeout(300)

CLIENTS = 4
WITHIN_SECONDS = 60.0


def socket_of(url: str) -> str:
    return parse_qs(urlsplit(url).query)["host"][0]


def run(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def wait_until(url: str, statement: str) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while run(url, statement) != [(True,)]:
        assert time.monotonic() < deadline, statement
        time.sleep(0.02)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A primary and a standby without which it commits nothing; their URLs."""
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedPostgres(tmp_path / "primary", create=True))
        cluster = tmp_path / "standby/postgres/cluster"
        cluster.parent.mkdir(parents=True, mode=0o700)
        (tmp_path / "standby").chmod(0o700)
        taking = [str(program("pg_basebackup")), "-D", str(cluster), "-R", "-X", "stream", "-c", "fast"]
        subprocess.run([*taking, "-h", socket_of(primary), "-U", "postgres"], check=True)
        owner = (tmp_path / "primary/postgres/cluster").stat()
        for path in (cluster, *cluster.rglob("*")):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)
        standby = stack.enter_context(EmbeddedPostgres(tmp_path / "standby"))
        run(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        run(primary, "SELECT pg_reload_conf()")
        wait_until(primary, "SELECT sync_state = 'sync' FROM pg_stat_replication")
        yield primary, standby


def test_a_promoted_standby_has_all_that_was_acknowledged(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Clients wait for as long as there is no primary, and the service finds the new one by itself."""
    primary, standby = pair
    either = f"postgresql://postgres@/postgres?host={socket_of(primary)},{socket_of(standby)}"
    fleet = Fleet(tmp_path, f"{either}&target_session_attrs=read-write")
    with fleet_of(fleet, ("gateway", "api", "worker", "projector")):
        with Client(fleet.apis()[0].url) as client:
            openings = open_users(client, 8)
        payers = [Payer(f"payer-{n}", [fleet.apis()[0].url], list(openings)) for n in range(CLIENTS)]
        for payer in payers:
            payer.start()
        wait_for_answers(payers, 100)

        server = psutil.Process(int((tmp_path / "primary/postgres/cluster/postmaster.pid").read_text().split()[0]))
        for process in (server, *server.children()):
            process.kill()
        died = time.monotonic()
        shutil.rmtree(tmp_path / "primary/postgres/cluster")  # for good: it is not to come back
        run(standby, "SELECT pg_promote()")
        promoted = time.monotonic()
        wait_for_answers(payers, 1)
        back = time.monotonic()
        wait_for_answers(payers, 100)
        for payer in payers:
            payer.finish()

        answered = [answer for payer in payers for answer in payer.answered]
        fleet.apis()[0].wait_until_ready()
        with Client(fleet.apis()[0].url) as client:
            client.settled([answer.payment_id for answer in answered])
            found = differences(client, openings, [answer.payment_id for answer in answered])
        proof = fleet.run("audit", "verify", "--json")
        sys.stdout.write(f"promoted after {promoted - died:.2f} s, first answer after {back - died:.2f} s\n")
        assert found == []
        assert proof.returncode == 0, proof.stdout + proof.stderr
