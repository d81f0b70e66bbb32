"""The parts of the campaign, and the whole service with the chaos gateway as a client and an integrator see it."""

import os
import random
import time
from collections.abc import Collection
from pathlib import Path

import httpx
import psycopg
import pytest

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.store.database import Database
from ledger.store.migrate import check_schema
from ledger.writer.writer import Writer
from processors.simulators.chaos.scenario import ChaosProfile, is_silent
from tests.chaos.faults import HABITS, Fault, all_faults, choose
from tests.chaos.fleet import Fleet
from tests.chaos.interrupted_migrations import interrupted
from tests.chaos.operators import Operators
from tests.chaos.payer import Answered, open_users
from tests.chaos.restores import Loss, Restores, given_twice
from tests.support.consistency import differences
from tests.support.databases import execute, fresh_ledger, remove
from tests.support.ledgers.busy import BusyLedger
from tests.support.servers.stepped_clock import SteppedClock, find_library
from tests.support.services import QUIET_SECONDS_MAX, Client, Service, serving
from tests.system.test_service import pay

SEED = int(os.environ.get("CHAOS_SEED", "5"))
PROFILE = ChaosProfile(seed=SEED)

FAULTS = all_faults(Restores(), Operators())

pytestmark = pytest.mark.timeout(300)


# --- the faults ------------------------------------------------------------------------------------------------------


def test_every_fault_and_habit_has_a_name_of_its_own() -> None:
    """The names are what `--faults` takes."""
    names = [*(fault.name for fault in FAULTS), *(habit.name for habit in HABITS)]

    assert len(names) == len({*names})


def test_without_names_every_fault_is_injected() -> None:
    """A fault that nobody has to ask for cannot be forgotten."""
    one, other = Fault("one", 1, lambda _: None), Fault("other", 1, lambda _: None)

    everything, chosen = choose([one, other]), choose([one, other], ["other"])

    assert (everything.faults, everything.habits, everything.left_out) == ([one, other], [*HABITS], {})
    assert chosen.faults == [other]
    assert chosen.left_out["one"] == "not chosen"


def test_a_fault_that_this_machine_cannot_have_is_left_out_with_its_reason() -> None:
    """Even when it is named: the report says so."""
    chosen = choose([Fault("far", 1, lambda _: None, needs=lambda: "nobody installed it")], ["far"])

    assert (chosen.faults, chosen.left_out["far"]) == ([], "nobody installed it")


def test_a_name_that_no_fault_has_is_refused() -> None:
    """A misspelt name would otherwise mean a run without the fault."""
    with pytest.raises(ValueError, match="restroe"):
        choose(FAULTS, ["restroe"])


@pytest.mark.skipif(find_library() is None, reason="the package faketime is not installed")
def test_the_clock_of_a_running_postgres_steps_forward_and_back(tmp_path: Path) -> None:
    """All its sessions see the step at once, and the monotonic clock goes on: sleeping takes as long as ever."""
    library = find_library()
    assert library is not None
    clock = SteppedClock(tmp_path / "clock", library)
    seen = []
    with (
        EmbeddedPostgres(tmp_path / "var", create=True, server_prefix=clock.server_prefix) as url,
        psycopg.connect(url, autocommit=True) as one,
        psycopg.connect(url, autocommit=True) as other,
    ):
        for step in (86_400, -3_600, 0):
            clock.step(step)
            for session in (one, other):
                told = session.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
                assert told is not None
                seen.append((step, round((told[0] - time.time()) / 60)))
        began = time.monotonic()
        one.execute("SELECT pg_sleep(0.1)")
        slept = time.monotonic() - began

    assert seen == [(86_400, 1440)] * 2 + [(-3_600, -60)] * 2 + [(0, 0)] * 2
    assert 0.1 <= slept < 10


def test_a_migration_that_was_killed_is_carried_out_afterwards(tmp_path: Path, postgres_url: str) -> None:
    """The store is whole after that, and the file of hits says that it died at least once."""
    database = Database(postgres_url, "interrupted")
    fleet = Fleet(tmp_path, postgres_url)
    try:
        wrong = interrupted(fleet, database, random.Random(1))

        check_schema(database)
        assert wrong == ""
        assert fleet.hits.total() >= 1
    finally:
        remove(database)


# --- restores --------------------------------------------------------------------------------------------------------


def loss(*, payments: Collection[int] = (), keys: Collection[str] = (), world: int = 0) -> Loss:
    return Loss(world=world, position=10, end=20, payments=frozenset(payments), keys=frozenset(keys))


def test_an_answer_is_lost_with_the_restore_that_follows_it() -> None:
    """An answer with the same payment id that was given after the restore is another payment's."""
    before, after = (Answered("", {}, "key", 202, b"", 7, world) for world in (0, 1))

    assert loss(payments={7}).holds(before)
    assert not loss(payments={7}).holds(after)
    assert not loss(payments={8}).holds(before)


def test_an_id_or_a_key_of_a_lost_stretch_that_is_given_again_is_found(postgres_url: str) -> None:
    """It may be given again in the store as it is, or in a stretch that is lost later.

    A payment that was kept must get the key of its forgotten series again.
    """
    with fresh_ledger(postgres_url) as database:
        writer = Writer(database)
        writer.start()
        busy = BusyLedger(writer)
        busy.open()
        payment_id = busy.deposit().payment_id
        writer.stop()
        [(key,)] = execute(database, "SELECT gateway_key FROM gateway_queue")
        losses = [
            loss(payments={payment_id, 3}, keys={key, "payment-3"}),
            loss(payments={3}, keys={"payment-3", "payment-3-2"}, world=1),
        ]
        with psycopg.connect(database.url, options=f"-c search_path={database.schema}") as connection:
            twice = given_twice(connection, losses)
            once = given_twice(connection, [loss(payments={4}, keys={"payment-4"})])
            kept = given_twice(connection, [loss(payments={4}, keys={key})])

    assert (twice.payments, twice.keys) == ({payment_id, 3}, {key, "payment-3"})
    assert len(twice.found) == 4
    assert (once.found, once.again) == ([], set())
    assert (kept.found, kept.again) == ([], {key})


# --- the service and the chaos gateway -------------------------------------------------------------------------------


def test_a_service_that_pays_through_chaos_keeps_its_ledger_right(tmp_path: Path) -> None:
    """16 clients send 200 payments, and each ends or is in doubt. `CHAOS_SEED=17` runs another seed."""
    chaos = {"DEMO_GATEWAY_KIND": "chaos", "DEMO_GATEWAY_SEED": str(SEED)}
    with serving(tmp_path, **chaos) as service, Client(service.url) as client:
        openings = open_users(client, 10)
        payment_ids = pay(service.url, users=10, payments=200)
        wait_until_quiet(client, payment_ids)

        found = differences(client, openings, payment_ids)
        reconcile = [letter for letter in client.get("/dlq", limit=500) if letter["state"] == "contradicted"]
        succeeded = client.pages("/payments", limit=500, status="success")
        behaviours = behaviours_of(service)
        proof = service.run("audit", "verify", "--json")

    told = f"seed {SEED}, {behaviours}"
    assert (found, reconcile) == ([], []), told
    assert len(succeeded) > 100, told
    assert sum(count > 0 for count in behaviours.values()) > 10, told
    assert f"chaos, by the seed {SEED}" in (tmp_path / "serve.log").read_text()
    assert proof.returncode == 0, proof.stdout + proof.stderr


def wait_until_quiet(client: Client, payment_ids: list[int]) -> None:
    """Wait until each payment has ended, except those in doubt about which the gateway stays silent."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while True:
        letters = client.get("/dlq", limit=500)
        in_doubt = {letter["payment_id"] for letter in letters if letter["state"] == "in_doubt"}
        for_ever = {number for number in in_doubt if is_silent(PROFILE, gateway_key=f"payment-{number}")}
        payments = client.pages("/payments", limit=500)
        ended = {payment["payment_id"] for payment in payments if payment["status"] in {"success", "failed"}}
        if not (still_open := set(payment_ids) - ended - for_ever):
            return
        assert time.monotonic() < deadline, f"seed {SEED}: {sorted(still_open)}"
        time.sleep(0.2)


def behaviours_of(service: Service) -> dict[str, int]:
    """Read the gateway's own counts of its behaviours."""
    url = f"http://127.0.0.1:{service.environment['DEMO_GATEWAY_PORT']}/behaviours"
    counts: dict[str, int] = httpx.get(url, trust_env=False).json()
    return counts
