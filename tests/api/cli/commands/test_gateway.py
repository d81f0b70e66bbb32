"""`gateway ...`: an operator pauses the gateway and resumes it at the command line."""

import json

import pytest

from ledger.audit.verify import verify_store
from ledger.operation.gateway import change_gateway
from ledger.store.database import Database
from tests.api.cli.shell import Shell
from tests.support.databases import execute

WHO = ("--why", "their maintenance", "--by", "Ada")


def test_a_gateway_is_paused_and_resumed(shell: Shell, database: Database) -> None:
    """Each command tells how it is then, and the log has who and why."""
    said = [
        shell.run("gateway", *words).stdout
        for words in (("status",), ("pause", *WHO), ("status",), ("resume", *WHO), ("status",))
    ]

    assert said[0] == said[4] == said[3] == "The gateway is called.\n"
    assert said[1] == said[2]
    assert "is paused since" in said[1]
    assert "by Ada: their maintenance" in said[1].replace("\n", " ")
    assert verify_store(database).events == 2


def test_an_open_breaker_and_a_hold_are_told(shell: Shell, database: Database) -> None:
    """With the time of the next probe, or of the end."""
    execute(database, "UPDATE gateway_state SET held_until = now() + interval '1 hour'", owner=True)
    held = shell.run("gateway", "status").stdout
    change_gateway(database, "breaker_opened", why="20 calls in a row failed")
    opened = shell.run("gateway", "status").stdout

    assert held.startswith("The gateway is not called until ")
    assert "breaker is open since" in opened
    assert "20 calls in a row failed" in opened.replace("\n", " ")


def test_machines_get_what_http_has(shell: Shell) -> None:
    """The same fields."""
    ended = shell.run("gateway", "pause", *WHO, "--json")

    assert ended.returncode == 0
    assert json.loads(ended.stdout)["paused"]["by"] == "Ada"


@pytest.mark.parametrize("words", [(), ("--why", "x"), ("--by", "Ada"), ("--why", "", "--by", "Ada")])
def test_a_pause_needs_a_reason_and_a_name(shell: Shell, database: Database, words: tuple[str, ...]) -> None:
    """Nothing is paused without."""
    ended = shell.run("gateway", "pause", *words)

    assert ended.returncode == 2
    assert execute(database, "SELECT paused_at FROM gateway_state") == [(None,)]
