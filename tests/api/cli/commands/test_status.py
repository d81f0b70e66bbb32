"""`status`: whether all is well, for people and for scripts."""

import json
import re

from ledger.store.database import Database
from tests.api.cli.shell import Shell, as_owner
from tests.support.seeds import Seeds


def test_status_is_well_while_every_part_lives(shell: Shell, seeds: Seeds) -> None:
    """Which is the exit code, for scripts."""
    seeds.heartbeat("worker", "here-1-a")
    seeds.heartbeat("projector", "here-2-b")

    for_people = shell.run("status")
    for_machines = shell.run("status", "--json")

    assert (for_people.returncode, for_machines.returncode) == (0, 0)
    assert "here-1-a" in for_people.stdout
    status = json.loads(for_machines.stdout)
    assert (status["ok"], status["wrong"]) == (True, [])
    assert {model["name"]: model["lag"] for model in status["pulse"]["read_models"]} == {
        "counters": 0,
        "read_models": 0,
    }


def test_status_says_what_needs_an_operator(shell: Shell, seeds: Seeds) -> None:
    """A part that is not there, and a read model that has stopped."""
    seeds.heartbeat("projector", "here-2-b")
    seeds.stopped("counters")

    ended = shell.run("status", "--json")
    for_people = shell.run("status")

    assert (ended.returncode, for_people.returncode) == (1, 1)
    wrong = json.loads(ended.stdout)["wrong"]
    assert len(wrong) == 2
    assert wrong[0].startswith("counters stopped at position")
    assert wrong[1] == "no worker is alive"
    assert "no worker is alive" in for_people.stdout


def test_status_says_that_a_copy_is_not_in_charge(shell: Shell, database: Database, seeds: Seeds) -> None:
    """All its parts may run, and yet it takes no payments."""
    seeds.heartbeat("worker", "here-1-a")
    seeds.heartbeat("projector", "here-2-b")
    as_owner(database, "UPDATE log_head SET inactive = true")

    ended = shell.run("status", "--json")

    assert ended.returncode == 1
    assert [wrong.partition(" that was ")[0] for wrong in json.loads(ended.stdout)["wrong"]] == [
        "this is an imported copy of the ledger"
    ]


def test_status_names_a_log_ahead_of_the_clock(shell: Shell, database: Database, seeds: Seeds) -> None:
    """All its parts may run, and yet events get times that are not true."""
    seeds.heartbeat("worker", "here-1-a")
    seeds.heartbeat("projector", "here-2-b")
    as_owner(database, "UPDATE log_head SET at = now() + interval '1 hour'")

    ended = shell.run("status", "--json")

    (wrong,) = json.loads(ended.stdout)["wrong"]
    assert ended.returncode == 1
    assert re.fullmatch(
        r"the log's last time is 3[56]\d\d s ahead of the database's clock, which was set back: .*", wrong
    )
