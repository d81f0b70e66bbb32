"""Processes that die at every boundary, are frozen, or are cut off, with clients and a gateway that go on meanwhile.

The long form of this, with everything at once, is `make chaos`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.embedded_postgres import EmbeddedPostgres
from tests.books import differences
from tests.chaos.fleet import Fleet, fleet_of, places_of
from tests.chaos.payer import Payer, open_users
from tests.services import Client

pytestmark = pytest.mark.timeout(300)

CLIENTS = 4


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
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """One process of each part, on a Postgres of its own."""
    with EmbeddedPostgres(tmp_path / "var", create=True) as url:
        # A lease that has to run out is what takes time here.
        fleet = Fleet(tmp_path, url, WORKER_PROCESSING_TIMEOUT_SECONDS="1.5")
        with fleet_of(fleet, ("gateway", "api", "worker", "projector")):
            yield fleet


@pytest.mark.parametrize("part", ["api", "worker", "projector"])
def test_a_part_that_dies_at_any_boundary_loses_and_doubles_nothing(fleet: Fleet, part: str) -> None:
    """At every fail point of the part, one after the other: SIGKILL, and the next process goes on."""
    victim = fleet.members[part]
    with Client(fleet.apis()[0].url) as client:
        openings = open_users(client, 8)
    victim.stop()

    with paying(fleet, list(openings)) as payers:
        for place in places_of(part):
            victim.start("--die-at", f"{place}:2")
            victim.wait_until_dead()
        victim.start()

    answered = [answer for payer in payers for answer in payer.answered]
    with Client(fleet.apis()[0].url) as client:
        client.settled([answer.payment_id for answer in answered])
        found = differences(client, openings, [answer.payment_id for answer in answered])
        for answer in answered:
            again = client.post(answer.path, answer.body, key=answer.key)
            assert (answer.status, answer.content) == (again.status_code, again.content)
    proof = fleet.run("audit", "verify", "--json")
    assert found == []
    assert dict.fromkeys(places_of(part), 1) == fleet.hits
    assert proof.returncode == 0, proof.stdout + proof.stderr
