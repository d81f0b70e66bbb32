"""Processes are killed at every fail point, frozen, or cut off, while clients and a gateway go on.

`make chaos` is the long form of this, with all faults at once.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.chaos.fleet import Fleet, fleet_of, places_of
from tests.chaos.payer import Answered, Payer, open_users, wait_for_answers
from tests.support.consistency import differences
from tests.support.databases import fresh_database
from tests.support.gateways.scripted import BUSY, NOT_FOUND, OK, ScriptedGateway
from tests.support.services import Client

pytestmark = pytest.mark.timeout(300)

CLIENTS = 4
WITHIN_SECONDS = 60.0


@contextmanager
def paying(fleet: Fleet, users: list[int], *, pause_seconds: float = 0.02) -> Iterator[list[Payer]]:
    """Let clients pay for the length of a block, and until each has its last answer."""
    urls = [api.url for api in fleet.apis()]
    payers = [Payer(f"payer-{n}", urls, users, pause_seconds=pause_seconds) for n in range(CLIENTS)]
    for payer in payers:
        payer.start()
    yield payers
    for payer in payers:
        payer.finish()


@pytest.fixture
def fleet(tmp_path: Path, postgres_url: str) -> Iterator[Fleet]:
    """Yield one process of each part, on a database of its own."""
    with fresh_database(postgres_url) as url:
        # most of the time here is spent waiting for a lease to expire
        fleet = Fleet(tmp_path, url, WORKER_PROCESSING_TIMEOUT_SECONDS="1.5")
        with fleet_of(fleet, ("gateway", "api", "worker", "projector")):
            yield fleet


def check(fleet: Fleet, openings: dict[int, Decimal], payers: list[Payer]) -> None:
    """Check that the clients' answers, the ledger and the gateway agree, and that the seals are right."""
    answered = [answer for payer in payers for answer in payer.answered]
    fleet.apis()[0].wait_until_ready()
    with Client(fleet.apis()[0].url) as client:
        client.settled([answer.payment_id for answer in answered])
        found = differences(client, openings, [answer.payment_id for answer in answered])
        for answer in answered:
            again = client.post(answer.path, answer.body, key=answer.key)
            assert (answer.status, answer.content) == (again.status_code, again.content)
    proof = fleet.run("audit", "verify", "--json")
    assert found == []
    assert proof.returncode == 0, proof.stdout + proof.stderr


@pytest.mark.parametrize("part", ["api", "worker", "projector"])
def test_a_part_that_dies_at_any_boundary_loses_and_doubles_nothing(fleet: Fleet, part: str) -> None:
    """At every fail point of the part in turn, the process is killed by SIGKILL, and the next one goes on."""
    victim = fleet.members[part]
    # The API and the worker have the same writer. The campaign covers the writer of the worker.
    places = [place for place in places_of(part) if part == "api" or not place.startswith("writer.")]
    with Client(fleet.apis()[0].url) as client:
        openings = open_users(client, 8)
    victim.stop()

    with paying(fleet, list(openings)) as payers:
        for place in places:
            victim.start("--at", f"{place}:2")
            victim.wait_until_dead()
        victim.start()

    assert dict.fromkeys(places, 1) == fleet.hits
    check(fleet, openings, payers)


def postmaster(directory: Path) -> "psutil.Process":
    return psutil.Process(int((directory / "var/postgres/cluster/postmaster.pid").read_text().split()[0]))


def a_backend(directory: Path) -> "psutil.Process":
    """The process of some session. When it is killed, Postgres terminates all sessions and restarts."""
    names = {child: " ".join(child.cmdline()) for child in postmaster(directory).children()}
    return next(child for child, name in names.items() if "postgres postgres [local]" in name)


def test_postgres_that_is_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    """The postmaster is killed twice and a backend twice. Clients wait and are answered afterwards."""
    with (postgres := EmbeddedPostgres(tmp_path / "var", create=True)) as url:
        fleet = Fleet(tmp_path, url)
        with fleet_of(fleet, ("gateway", "api", "worker", "projector")):
            with Client(fleet.apis()[0].url) as client:
                openings = open_users(client, 8)

            with paying(fleet, list(openings)) as payers:
                for _ in range(2):
                    wait_for_answers(payers, 20)
                    server = postmaster(tmp_path)
                    server.kill()
                    server.wait(WITHIN_SECONDS)
                    postgres.ensure_running()
                    wait_for_answers(payers, 20)
                    a_backend(tmp_path).kill()

            check(fleet, openings, payers)


def test_a_writer_frozen_while_it_holds_the_head_blocks_the_others_for_seconds_only(fleet: Fleet) -> None:
    """Postgres terminates its session.

    Once continued, the writer finds that nothing was stored, and answers its clients.
    """
    frozen, other = fleet.members["api"], fleet.add("api-2", "api")
    with Client(frozen.url) as client:
        openings = open_users(client, 8)
    frozen.stop()
    frozen.start("--freeze", "--at", "writer.after_insert:3")
    other.start()
    for api in (frozen, other):
        api.wait_until_ready()

    with paying(fleet, list(openings)) as payers:
        frozen.wait_until_hit()
        with Client(other.url) as client:
            answers = [client.post("/payments/deposit", {"user_id": 1, "deposit": "1.00"}, key="patient")]
            while answers[-1].status_code == httpx.codes.SERVICE_UNAVAILABLE and len(answers) < 5:
                answers.append(client.post("/payments/deposit", {"user_id": 1, "deposit": "1.00"}, key="patient"))
            answer = answers[-1]
        still_frozen = frozen.is_alive()
        frozen.signal(signal.SIGCONT)

    assert (answer.status_code, still_frozen) == (202, True)
    with Client(other.url) as client:
        client.settled([answer.json()["payment_id"]])
        payers[0].answered.append(
            Answered(
                "/payments/deposit",
                {"user_id": 1, "deposit": "1.00"},
                "patient",
                202,
                answer.content,
                answer.json()["payment_id"],
            )
        )
    check(fleet, openings, payers)


def test_a_projector_frozen_in_its_transaction_is_replaced(fleet: Fleet) -> None:
    """Postgres terminates its session and another projector takes the lead.

    When continued, the first one writes nothing.
    """
    frozen, other = fleet.members["projector"], fleet.add("projector-2", "projector")
    frozen.stop()
    frozen.start("--freeze", "--at", "projector.before_commit:3")
    with Client(fleet.apis()[0].url) as client:
        openings = open_users(client, 8)

    with paying(fleet, list(openings), pause_seconds=0.2) as payers:
        frozen.wait_until_hit()
        other.start()
        wait_for_answers(payers, 20)
        with Client(fleet.apis()[0].url) as client:
            client.settled([answer.payment_id for payer in payers for answer in payer.answered])
        frozen.signal(signal.SIGCONT)

    check(fleet, openings, payers)


# --- one payment and a scripted gateway ------------------------------------------------------------------------------


@contextmanager
def scripted(
    tmp_path: Path, postgres_url: str, gateway: ScriptedGateway, **more: str
) -> Iterator[tuple[Fleet, Client]]:
    """Yield a service with an account of 1000.00 and a scripted gateway. The test starts the worker."""
    settings = {"WORKER_PROCESSING_TIMEOUT_SECONDS": "1.5", "PAYMENT_GATEWAY_URL": gateway.url}
    with fresh_database(postgres_url) as url:
        fleet = Fleet(tmp_path, url, **settings, **more)
        with fleet_of(fleet, ("api", "projector")), Client(fleet.apis()[0].url) as client:
            client.post("/users/", {"balance": 1000})
            yield fleet, client


def history(client: Client, payment_id: int) -> list[tuple[str, Any, Any]]:
    """A payment's events as topic, outcome and error."""
    events = client.get(f"/payments/{payment_id}/events")["items"]
    return [
        (event["topic"].removeprefix("payment."), event["data"].get("outcome"), event["data"].get("error"))
        for event in events
    ]


def test_a_payment_whose_worker_was_killed_after_the_money_moved_does_not_fail(
    tmp_path: Path, postgres_url: str
) -> None:
    """The attempt whose answer was lost may have moved money, so the worker inquires before it fails the payment."""
    with (
        ScriptedGateway(calls=[OK, BUSY], inquiries=[OK]) as gateway,
        scripted(tmp_path, postgres_url, gateway) as (fleet, client),
    ):
        worker = fleet.add("worker", "worker")
        worker.start("--at", "worker.after_call:1")
        payment_id = client.post("/payments/withdraw", {"user_id": 1, "amount": 50}).json()["payment_id"]
        worker.wait_until_dead()
        worker.start()

        payment = client.settled([payment_id])[payment_id]

        assert (payment["status"], payment["attempts"]) == ("success", 3)
        assert client.get("/users/1")["balance"] == 949.0
        assert history(client, payment_id) == [
            ("requested", None, None),
            ("gateway_attempted", "unknown", "lease_expired"),
            ("gateway_attempted", "turned_away", "gateway_error_429"),
            ("gateway_attempted", "turned_away", "gateway_error_429"),
            ("inquired", None, None),
            ("succeeded", None, None),
        ]
        assert gateway.of("GET") == [(payment_id, f"payment-{payment_id}")]


def test_a_worker_does_not_make_a_call_whose_lease_has_expired(tmp_path: Path, postgres_url: str) -> None:
    """The payment has failed by then, because the gateway does not know it. The call would move money."""
    with (
        ScriptedGateway(calls=[BUSY, OK], inquiries=[NOT_FOUND]) as gateway,
        scripted(tmp_path, postgres_url, gateway, GATEWAY_MAX_ATTEMPTS="2") as (fleet, client),
    ):
        frozen, other = fleet.add("worker-1", "worker"), fleet.add("worker-2", "worker")
        frozen.start("--freeze", "--at", "worker.before_call:1")
        payment_id = client.post("/payments/withdraw", {"user_id": 1, "amount": 50}).json()["payment_id"]
        frozen.wait_until_hit()
        other.start()
        client.settled([payment_id])

        frozen.signal(signal.SIGCONT)
        frozen.stop()

        assert client.get(f"/payments/{payment_id}")["status"] == "failed"
        assert gateway.of("POST") == [(payment_id, f"payment-{payment_id}")]
        assert [event[:2] for event in history(client, payment_id)] == [
            ("requested", None),
            ("gateway_attempted", "unknown"),
            ("gateway_attempted", "turned_away"),
            ("inquired", None),
            ("failed", None),
        ]


def test_two_workers_that_both_believe_to_own_a_payment_settle_it_once(tmp_path: Path, postgres_url: str) -> None:
    """One worker is frozen with the answer until its lease has expired. Its late report changes nothing."""
    with (
        ScriptedGateway(calls=[OK, OK]) as gateway,
        scripted(tmp_path, postgres_url, gateway) as (fleet, client),
    ):
        frozen, other = fleet.add("worker-1", "worker"), fleet.add("worker-2", "worker")
        frozen.start("--freeze", "--at", "worker.after_call:1")
        payment_id = client.post("/payments/deposit", {"user_id": 1, "deposit": 200}).json()["payment_id"]
        frozen.wait_until_hit()
        other.start()
        client.settled([payment_id])

        frozen.signal(signal.SIGCONT)
        frozen.stop()

        assert client.get("/users/1")["balance"] == 1196.0
        assert history(client, payment_id) == [
            ("requested", None, None),
            ("gateway_attempted", "unknown", "lease_expired"),
            ("gateway_attempted", "approved", None),
            ("succeeded", None, None),
        ]
        assert gateway.of("POST") == [(payment_id, f"payment-{payment_id}")] * 2
        assert client.get("/dlq") == []
