"""A primary dies and its synchronous standby is promoted: nothing that was acknowledged is lost."""

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.chaos.fleet import Fleet, fleet_of
from tests.chaos.payer import Payer, open_users, wait_for_answers
from tests.support.consistency import differences
from tests.support.servers.clusters import kill_server, run, socket_of, take_base_backup, wait_until
from tests.support.services import Client

pytestmark = pytest.mark.timeout(300)

CLIENTS = 4


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Yield the URLs of a primary and of a standby that must confirm each commit."""
    with ExitStack() as stack:
        primary = stack.enter_context(EmbeddedPostgres(tmp_path / "primary", create=True))
        take_base_backup(primary, tmp_path / "primary", tmp_path / "standby", standby=True)
        standby = stack.enter_context(EmbeddedPostgres(tmp_path / "standby"))
        run(primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        run(primary, "SELECT pg_reload_conf()")
        wait_until(primary, "SELECT sync_state = 'sync' FROM pg_stat_replication")
        yield primary, standby


def test_a_promoted_standby_has_all_that_was_acknowledged(tmp_path: Path, pair: tuple[str, str]) -> None:
    """Clients wait until there is a new primary, and the service finds it by itself."""
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

        kill_server(tmp_path / "primary")
        died = time.monotonic()
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
