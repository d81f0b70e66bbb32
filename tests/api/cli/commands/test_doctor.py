"""`doctor`: the rule table row by row, the remedy for each fault, and an exit code that says how bad it is."""

import json
from subprocess import CompletedProcess

from api.queries.health_rule import RULES
from ledger.store.database import Database
from tests.api.cli.shell import Shell, as_owner
from tests.support.ports import free_port
from tests.support.seeds import Seeds


def test_all_rows_are_ok_while_every_part_lives(shell: Shell, seeds: Seeds) -> None:
    """Every rule has its row."""
    seeds.heartbeat("worker", "here-1-a")
    seeds.heartbeat("projector", "here-2-b")

    for_people = shell.run("doctor")
    for_machines = shell.run("doctor", "--json")

    seen = json.loads(for_machines.stdout)
    assert (for_people.returncode, for_machines.returncode) == (0, 0)
    assert [line.split()[:2] for line in for_people.stdout.splitlines()[1:]] == [[rule.name, "ok"] for rule in RULES]
    assert seen["worst"] is None
    assert {row["name"]: row["sentences"] for row in seen["rules"]} == {rule.name: [] for rule in RULES}


def test_the_exit_code_is_that_of_the_worst_severity(shell: Shell, database: Database, seeds: Seeds) -> None:
    """A warning, then an error beside it, then a critical fault."""
    seeds.heartbeat("worker", "here-1-a")
    seeds.heartbeat("projector", "here-2-b")
    as_owner(database, "UPDATE log_head SET at = now() + interval '1 minute'")
    warning = shell.run("doctor")
    as_owner(database, "DELETE FROM heartbeats WHERE part = 'worker'")
    error = shell.run("doctor")
    as_owner(database, "UPDATE log_head SET inactive = true")
    critical = shell.run("doctor")

    assert (warning.returncode, error.returncode, critical.returncode) == (3, 4, 5)
    assert "log_ahead_of_clock: Set the server's clock right" in warning.stdout
    assert "no_worker: Start one with `payment-ledger worker`" in error.stdout
    assert "inactive: Stop the old ledger for good" in critical.stdout


def test_a_database_that_cannot_be_reached_is_a_row_too(shell: Shell) -> None:
    """Doctors are called when nothing works."""
    port = free_port()
    ended = shell.run("doctor", "--json", DATABASE_URL=f"postgresql://127.0.0.1:{port}/none?connect_timeout=2")

    seen = json.loads(ended.stdout)
    assert (ended.returncode, seen["worst"]) == (5, "critical")
    assert [row["name"] for row in seen["rules"] if row["sentences"]] == ["database_unavailable"]


def test_a_verification_of_the_whole_log_is_noted_and_grows_old(shell: Shell) -> None:
    """The note is in the data directory; a verification of a part is not noted."""
    directory = shell.directory / "data"
    directory.mkdir()
    noted = directory / "verified.json"

    def run(*words: str) -> CompletedProcess[str]:
        return shell.run(*words, LEDGER_DATA_DIR=str(directory))

    def is_behind() -> bool:
        rows = json.loads(run("doctor", "--json").stdout)["rules"]
        return any(row["sentences"] for row in rows if row["name"] == "verification_behind")

    part = run("audit", "verify", "--seals-only")
    noted_part = [*directory.iterdir()]
    whole = run("audit", "verify")
    fresh = is_behind()
    noted.write_text(json.dumps(json.loads(noted.read_text("utf-8")) | {"at": 0.0}), "utf-8")
    old = is_behind()
    noted.write_text("not JSON", "utf-8")
    unreadable = is_behind()

    assert (part.returncode, noted_part, whole.returncode) == (0, [], 0)
    assert (fresh, old, unreadable) == (False, True, False)
