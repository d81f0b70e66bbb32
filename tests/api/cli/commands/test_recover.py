"""`recover`: an operator tells a restored store that it may be behind the world."""

import json

import pytest

from ledger.audit.verify import verify_store
from ledger.recovery.recover import SKIP_MIN
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, as_owner
from tests.support.ledgers.busy import EVENTS, fill


def test_a_store_is_recovered_by_hand(shell: Shell, database: Database, writer: Writer) -> None:
    """It prints the result, and the log contains the reason."""
    fill(writer)

    for_people = shell.run("recover")
    for_machines = shell.run("recover", "--why", "restored from Tuesday", "--skip", "3000", "--json")

    assert (for_people.returncode, for_machines.returncode) == (0, 0)
    assert f"The recovery is at position {EVENTS + 1} of the log." in for_people.stdout
    done = json.loads(for_machines.stdout)
    assert (done["position"], done["skipped"], done["calls"]) == (EVENTS + 2, 3_000, 0)
    assert done["next_payment_sequence"] > SKIP_MIN
    assert verify_store(database).errors == []


def test_a_copy_is_not_recovered_by_hand(shell: Shell, database: Database) -> None:
    """A take-over does it."""
    as_owner(database, "UPDATE log_head SET inactive = true")

    ended = shell.run("recover")

    assert ended.returncode == 1
    assert "copy" in ended.stderr


@pytest.mark.parametrize("why", ["", " \t", "x" * 501, "x" * 1_001])
def test_a_reason_that_an_audit_would_refuse_is_not_recorded(shell: Shell, database: Database, why: str) -> None:
    """The log keeps it for ever, and every audit would find it."""
    ended = shell.run("recover", "--why", why)

    assert (ended.returncode, "--why" in ended.stderr) == (2, True)
    assert verify_store(database).events == 0


def test_a_gap_that_leaves_no_room_is_refused(shell: Shell) -> None:
    """Nothing is done."""
    assert shell.run("recover", "--skip", str(2**50)).returncode == 2
