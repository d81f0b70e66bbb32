"""A rolling upgrade: parts of the previous release and of this one, on one store."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.chaos.payer import Payer, open_users
from tests.support.consistency import differences
from tests.support.databases import fresh_database
from tests.support.ports import free_port
from tests.support.services import Client
from tests.support.waiting import wait_until
from tests.upgrades.program import Program
from tests.upgrades.release import migrations_since, unpack_previous_release

USERS: Final = 12
PAYMENTS: Final = 120
"""How many payments must be answered before the next step of the upgrade."""

pytestmark = pytest.mark.timeout(300)


def answered(payers: Sequence[Payer]) -> int:
    """The number of payments that were answered."""
    return sum(len(payer.answered) for payer in payers)


def pay_on(payers: Sequence[Payer]) -> None:
    """Wait until more payments are answered."""
    before = answered(payers)
    wait_until(lambda: answered(payers) >= before + PAYMENTS)


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """Give the files of the previous release."""
    release = unpack_previous_release(tmp_path / "release")
    if barring := [each.id for each in migrations_since(release) if each.beside.bars(("api", "worker"))]:
        pytest.skip(f"an API and a worker of the previous release may not run after {', '.join(barring)}")
    return release


def test_the_previous_release_runs_beside_this_one(tmp_path: Path, postgres_url: str, release: Path) -> None:
    """An API and a worker go on after the migration and are killed later; nothing is lost, and nothing is doubled."""
    with fresh_database(postgres_url) as url, ExitStack() as stack:
        shared = {"DATABASE_URL": url, "DEMO_GATEWAY_PORT": str(free_port()), "DEMO_GATEWAY_SEED": "7"}
        for name in ("old", "new"):
            (tmp_path / name).mkdir()
        old = Program(tmp_path / "old", PYTHONPATH=str(release), **shared)
        # Its lines are not ours, and would count as such.
        old.environment = {name: value for name, value in old.environment.items() if not name.startswith("COV")}
        new = Program(tmp_path / "new", **shared)
        assert old.imported_from() == release / "api"
        assert old.run("migrate").returncode == 0
        stack.enter_context(new.part("gateway"))
        old_projector = stack.enter_context(old.part("projector"))
        dying = [stack.enter_context(old.part(name)) for name in ("worker", "api")]
        wait_until(old.is_ready)
        with Client(old.url) as client:
            openings = open_users(client, USERS)
        payers = [Payer(f"payer-{n}", [old.url, new.url], list(openings)) for n in range(4)]
        for payer in payers:
            payer.start()
        pay_on(payers)

        with new.part("migrate") as migrating:
            wait_until(lambda: "waiting_for_older_parts" in new.log() or migrating.poll() is not None)
            old_projector.terminate()
            assert migrating.wait(60) == 0, new.log()
        for name in ("projector", "api"):
            stack.enter_context(new.part(name))
        wait_until(new.is_ready)
        with Client(new.url) as client:
            alone = client.post("/payments/deposit", {"user_id": next(iter(openings)), "deposit": 1}).json()
            client.settled([alone["payment_id"]])  # by the worker of the previous release, the only one
        stack.enter_context(new.part("worker"))
        pay_on(payers)
        for words in (("pause", "--why", "upgrade", "--by", "test"), ("resume", "--why", "upgrade", "--by", "test")):
            changed = new.run("gateway", *words)
            assert changed.returncode == 0, changed.stderr
        pay_on(payers)
        assert [process.poll() for process in dying] == [None, None], old.log()
        for process in dying:
            process.kill()
            process.wait()
        pay_on(payers)

        for payer in payers:
            payer.finish()
        for payer in payers:
            payer.join(60)
        paid = [each for payer in payers for each in payer.answered]
        assert [wrong for payer in payers for wrong in payer.wrong] == []
        with Client(new.url) as client:
            payment_ids = [alone["payment_id"], *(each.payment_id for each in paid)]
            client.settled(payment_ids)
            assert differences(client, openings, payment_ids) == []
        # It fills the read models that the previous release did not have.
        assert "swapped in" in new.run("rebuild").stdout
        verified = new.run("audit", "verify", "--json")
        assert verified.returncode == 0, verified.stdout
        restarted = old.run("worker")
        assert restarted.returncode == 1
        assert migrations_since(release)[0].id in restarted.stderr
