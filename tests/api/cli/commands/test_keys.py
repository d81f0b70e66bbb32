"""`payment-ledger keys`: a key is made, listed, rotated and revoked on the database itself."""

import json
import re

import pytest

from ledger.store.database import Database
from tests.api.cli.shell import Shell
from tests.support.databases import execute
from tests.support.ports import free_port


def test_a_key_is_made_listed_rotated_and_revoked(shell: Shell) -> None:
    """Only the key stands on standard output, so that a program can take it."""
    made = shell.run(
        "keys", "create", "the shop", "--scope", "read", "--scope", "operate", "--user", "7", "--days", "30"
    )
    key = made.stdout.strip()
    assert re.fullmatch(r"pl_[0-9a-f]{16}_[0-9a-f]{48}", key), made.stderr
    assert "shown once" in made.stderr

    rotated = shell.run("keys", "rotate", key[3:19], "--keep", "60")
    listed = shell.run("keys", "list")
    revoked = shell.run("keys", "revoke", key[3:19])
    after = shell.run("keys", "list")

    assert rotated.stdout[:19] == key[:19]
    assert rotated.stdout.strip() != key
    for word in (key[3:19], "the shop", "operate, read", "7", "two secrets"):
        assert word in listed.stdout
    assert key[20:] not in listed.stdout
    assert revoked.stdout == f"Key {key[3:19]} is revoked.\n"
    assert "revoked" in after.stdout


def test_the_same_in_json(shell: Shell) -> None:
    """The fields are those of HTTP."""
    assert shell.run("keys", "list").stdout == "No keys.\n"
    made = json.loads(shell.run("keys", "create", "n", "--scope", "admin", "--json").stdout)
    rotated = json.loads(shell.run("keys", "rotate", made["key_id"], "--json").stdout)
    revoked = json.loads(shell.run("keys", "revoke", made["key_id"], "--json").stdout)
    (listed,) = json.loads(shell.run("keys", "list", "--json").stdout)

    assert made["key"].startswith(f"pl_{made['key_id']}_")
    assert rotated["key"] != made["key"]
    assert listed == revoked
    assert (listed["name"], listed["scopes"], listed["user_ids"]) == ("n", ["admin"], None)


def test_an_expired_key_is_shown_as_such(shell: Shell, database: Database) -> None:
    """It stays in the list."""
    shell.run("keys", "create", "n", "--scope", "read", "--days", "1")
    execute(database, "UPDATE api_key SET expires_at = now() - interval '1 s'", owner=True)

    assert "expired" in shell.run("keys", "list").stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["create", "n"], 2, "--scope"),
        (["create", "n", "--scope", "all"], 2, "all"),
        (["create", "n" * 101, "--scope", "read"], 2, "at most 100 characters"),
        (["create", " ", "--scope", "read"], 2, "1 to 500 characters"),
        (["create", "n", "--scope", "admin", "--user", "1"], 1, "bound to users"),
        (["rotate", "0" * 16], 1, "No key has this id"),
        (["revoke", "0" * 16], 1, "No key has this id"),
        (["revoke", "xyz"], 2, "16 digits and letters"),
    ],
)
def test_a_wrong_command_changes_nothing(
    shell: Shell, database: Database, words: list[str], code: int, said: str
) -> None:
    """The exit code tells a wrong command from one that was refused."""
    ended = shell.run("keys", *words)

    assert (ended.returncode, ended.stdout) == (code, "")
    assert said in ended.stderr
    assert execute(database, "SELECT count(*) FROM api_key") == [(0,)]


def test_the_service_may_not_widen_a_key(shell: Shell, database: Database) -> None:
    """Its role can end a key and give it another secret, and neither scopes nor users."""
    shell.run("keys", "create", "n", "--scope", "read", "--user", "1")

    for change in ("scopes = '{admin}'", "users = NULL", "expires_at = NULL"):
        with pytest.raises(Exception, match="permission denied"):
            execute(database, f"UPDATE api_key SET {change}")
    with pytest.raises(Exception, match="permission denied"):
        execute(database, "DELETE FROM api_key")


@pytest.mark.parametrize("command", ["api", "serve"])
def test_a_command_that_would_listen_on_a_network_ends_with_its_advice(shell: Shell, command: str) -> None:
    """Nothing listens, and the exit code says that the settings are wrong."""
    ended = shell.run(command, HOST="0.0.0.0", PORT=str(free_port()), DEMO_GATEWAY_PORT=str(free_port()))  # noqa: S104

    assert ended.returncode == 2
    assert "there are no keys yet" in ended.stderr
