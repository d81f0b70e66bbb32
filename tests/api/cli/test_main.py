"""The command line as an operator uses it: settings, migrations and the benchmark, with a real Postgres."""

import json
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any
from uuid import uuid4

import click
import pytest

from api.cli.main import main
from ledger.store.database import Database
from tests.api.cli.shell import Shell, as_url
from tests.support.databases import remove
from tests.support.ports import free_port
from tests.support.proxies import proxy_before
from tests.support.services import CHECKOUT
from tests.support.waiting import wait_until

# --- what is wrong is said before anything is done -------------------------------------------------------------------


def test_a_wrong_setting_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    """All of them are named at once, with the values that they take."""
    ended = Shell(tmp_path, PORT="seventy", LEDGER_DATA_DIR=str(tmp_path / "var")).run("serve", TRANSACTION_FEE="101")

    assert ended.returncode == 2
    assert "PORT has to be a whole number" in ended.stderr
    assert "TRANSACTION_FEE has to be a percentage" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_env_file_of_the_directory(tmp_path: Path) -> None:
    """As `make run` finds them in the checkout."""
    (tmp_path / ".env").write_text("PORT=seventy\n")

    ended = Shell(tmp_path).run("ready", "api")

    assert ended.returncode == 2
    assert "PORT has to be" in ended.stderr


@pytest.mark.parametrize("words", [["status"], ["dlq", "list"], ["audit", "verify"], ["api"], ["worker"]])
def test_only_serve_and_migrate_make_a_data_directory(tmp_path: Path, words: list[str]) -> None:
    """Others say that there is none, rather than show an empty ledger."""
    ended = Shell(tmp_path, LEDGER_DATA_DIR=str(tmp_path / "var")).run(*words)

    assert ended.returncode == 2
    assert "payment-ledger serve" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_part_without_a_ledger_names_the_command_that_makes_one(tmp_path: Path, postgres_url: str) -> None:
    """`AUTO_CREATE_TABLES` is false for a part that runs alone."""
    shell = Shell(tmp_path, DATABASE_URL=postgres_url, LEDGER_SCHEMA=f"test_{uuid4().hex[:8]}", DEMO_GATEWAY="true")

    ended = shell.run("worker")

    assert ended.returncode == 1
    assert "payment-ledger migrate" in ended.stderr


def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path) -> None:
    """An operator's command does not wait for long."""
    port = free_port()

    ended = Shell(tmp_path, DATABASE_URL=f"postgresql://ledger:hunter2@127.0.0.1:{port}/books").run("status")

    assert ended.returncode == 1
    assert f"127.0.0.1:{port}/books" in ended.stderr
    assert "hunter2" not in ended.stderr


# --- migrations ------------------------------------------------------------------------------------------------------


def test_migrate_says_what_it_applied(tmp_path: Path, postgres_url: str) -> None:
    """And nothing the second time."""
    database = Database(postgres_url, f"test_{uuid4().hex[:8]}")
    shell = Shell(tmp_path, DATABASE_URL=postgres_url, LEDGER_SCHEMA=database.schema)
    try:
        first = shell.run("migrate", "--json")
        second = shell.run("migrate")
        third = shell.run("migrate", "--json")

        assert [first.returncode, second.returncode, third.returncode] == [0, 0, 0]
        assert json.loads(first.stdout)["applied"][0] == "0001.store"
        assert "up to date" in second.stdout
        assert json.loads(third.stdout) == {"applied": [], "beside": {}}
    finally:
        remove(database)


def test_a_part_may_migrate_and_waits_for_its_database(tmp_path: Path, postgres_url: str) -> None:
    """As under compose, where the database comes up late."""
    database = Database(postgres_url, f"test_{uuid4().hex[:8]}")
    try:
        with proxy_before(postgres_url) as proxy:
            proxy.refusing = True
            shell = Shell(tmp_path, DATABASE_URL=as_url(proxy.url), LEDGER_SCHEMA=database.schema)
            with shell.running("projector", AUTO_CREATE_TABLES="true") as projector:
                wait_until(lambda: "waiting_for_database" in shell.log.read_text())
                proxy.refusing = False
                wait_until(lambda: shell.run("ready", "projector").returncode == 0)
                projector.terminate()

                assert projector.wait(10) == 0
    finally:
        remove(database)


# --- the benchmark ---------------------------------------------------------------------------------------------------


def test_the_benchmark_is_run_from_any_directory(tmp_path: Path) -> None:
    """It comes with the checkout, and its words are its own."""
    done = Shell(tmp_path).run("bench", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "--scenario" in done.stdout


def test_a_wrong_word_for_the_benchmark_is_refused(tmp_path: Path) -> None:
    """Before anything is started."""
    done = Shell(tmp_path).run("bench", "--scenario", "99")

    assert done.returncode == 2
    assert "'14'" in done.stderr


def test_an_installed_package_has_no_benchmark_and_says_so(tmp_path: Path) -> None:
    """Nothing of the tests is installed with it."""
    for package in ("ledger", "projections", "processors", "api"):
        copytree(CHECKOUT / package, tmp_path / "installed" / package, ignore=ignore_patterns("__pycache__", "static"))

    shell = Shell(tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    for name in [name for name in shell.environment if name.startswith("COV")]:
        del shell.environment[name]  # the copy does not count for the coverage

    done = shell.run("bench")

    assert done.returncode == 2
    assert "make bench" in done.stderr


# --- numbers --------------------------------------------------------------------------------------------------------

BEYOND = str(10**23)


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yield every command with the words that call it."""
    yield path, group
    if not isinstance(group, click.Group):
        return
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from commands(command, (*path, name))


NUMBERS = [
    (words, parameter)
    for words, command in commands(main)
    for parameter in command.params
    if isinstance(parameter.type, click.types.IntParamType)
]


def test_numbers_are_found() -> None:
    """Those of nested groups too."""
    assert {(*words, parameter.name) for words, parameter in NUMBERS} >= {
        ("dlq", "list", "offset"),
        ("dlq", "requeue", "payment_id"),
        ("audit", "verify", "upto"),
        ("gateway", "chaos"),
    }


@pytest.mark.parametrize(
    ("words", "parameter"), NUMBERS, ids=[" ".join((*words, str(each.name))) for words, each in NUMBERS]
)
def test_every_number_has_a_range_that_the_database_can_hold(words: tuple[str, ...], parameter: Any) -> None:
    """A larger one is refused with the range, and a smaller one too."""
    kind: Any = parameter.type
    assert isinstance(kind, click.IntRange), words
    assert kind.min is not None
    assert kind.max is not None
    assert 0 <= kind.min <= kind.max <= 2**63 - 1
    with pytest.raises(click.BadParameter, match="is not in the range"):
        parameter.type.convert(BEYOND, parameter, None)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["dlq", "list", "--offset", BEYOND], 2),
        (["dlq", "list", "--offset", "1000000"], 0),
        (["dlq", "show", BEYOND], 2),
        (["dlq", "show", str(2**53 - 1)], 1),
        (["audit", "balance", str(2**53 - 1), "--position", str(2**63 - 1)], 1),
        (["audit", "verify", "--from", BEYOND], 2),
        (["audit", "verify", "--expect", f"{BEYOND}:{'0' * 64}"], 2),
        (["audit", "replay", "payment", BEYOND], 2),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, list) else None,
)
def test_a_number_is_refused_in_words(shell: Shell, words: list[str], code: int) -> None:
    """2 when the command is wrong, and 1 when the ledger does not have it. Nobody sees a traceback."""
    ended = shell.run(*words)

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
