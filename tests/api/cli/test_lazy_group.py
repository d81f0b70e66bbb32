"""Commands are loaded when they are called: a health check loads no web framework, and nobody loads all commands."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import psycopg.errors
import pytest
from click.testing import CliRunner

from api.cli.audits.group import COMMANDS as AUDIT_COMMANDS
from api.cli.failures import answer_to
from api.cli.lazy_group import Entry, LazyGroup
from api.cli.main import COMMANDS
from api.runtime.embedded_postgres.programs import NoDataDirectory
from api.runtime.ports import CannotListen, PortTaken
from api.settings import SettingsError
from ledger.errors import DatabaseUnavailable
from ledger.store.database import Database
from tests.api.cli.shell import Shell

ENTRIES = (*COMMANDS, *AUDIT_COMMANDS)

GATEWAY_CLIENT = {"httpx", "aiohttp"}
WEB = {"litestar", "granian"} | GATEWAY_CLIENT
HEAVY = WEB | {"psycopg", "msgspec", "rich", "structlog", "stamina", "yoyo", "eventsourcing"}

RUN_AND_TELL = """
import json, runpy, sys
file, sys.argv = sys.argv[1], ["payment-ledger", *sys.argv[2:]]
try:
    runpy.run_module("api.cli", run_name="__main__")
finally:
    json.dump(sorted(sys.modules), open(file, "w"))
"""


def modules_of(shell: Shell, *words: str) -> set[str]:
    """Run a command in a process of its own, and give the modules that it loaded."""
    file = shell.directory / "modules.json"
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN_AND_TELL, str(file), *words],
        cwd=shell.directory,
        env=shell.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode in {0, 1}, ended.stderr
    assert "Traceback" not in ended.stderr
    return set(json.loads(file.read_text()))


@pytest.fixture
def shell(tmp_path: Path, database: Database) -> Shell:
    """Give a shell whose settings name a migrated, empty ledger."""
    return Shell(tmp_path, DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema)


@pytest.mark.parametrize(
    "words",
    [
        ["ready", "worker"],
        ["ready", "projector"],
        ["status"],
        ["status", "--json"],
        ["status", "--help"],
        ["dlq", "list"],
        ["audit", "verify"],
        ["audit", "trial-balance"],
        ["audit", "balance", "7"],
        ["migrate"],
        ["rebuild", "--check-only"],
        ["serve", "--help"],
        ["settings"],
    ],
)
def test_a_command_that_serves_nothing_loads_no_web_framework(shell: Shell, words: list[str]) -> None:
    """Nor an HTTP client; on a real ledger, from the first line to the last."""
    assert {name.partition(".")[0] for name in modules_of(shell, *words)} & WEB == set()


def test_a_decision_about_a_letter_loads_no_web_framework(shell: Shell) -> None:
    """It may ask the gateway, so it does load an HTTP client."""
    loaded = {name.partition(".")[0] for name in modules_of(shell, "dlq", "requeue", "7", "--why", "x", "--by", "y")}

    assert loaded & WEB == GATEWAY_CLIENT


@pytest.mark.parametrize(
    "words",
    [["--help"], ["--version"], ["audit", "--help"], ["ready", "--help"], ["ready", "api"], ["ready", "gateway"]],
)
def test_what_needs_no_database_loads_no_driver_for_it(tmp_path: Path, words: list[str]) -> None:
    """Health checks of the API and the demo gateway start every few seconds, and help tells what there is at once."""
    shell = Shell(tmp_path, DATABASE_URL="postgresql://db:5432/ledger")

    assert {name.partition(".")[0] for name in modules_of(shell, *words)} & HEAVY == set()


@pytest.mark.parametrize("words", [["status"], ["dlq", "list"], ["audit", "trial-balance"]])
def test_a_command_loads_none_of_the_others(shell: Shell, words: list[str]) -> None:
    """Only its own module, and the group that it belongs to."""
    loaded = {name for name in modules_of(shell, *words) if name.startswith("api.cli.commands.")}

    assert {name.rpartition(".")[2] for name in loaded} <= {words[0], "group", "books"}


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_an_entry_names_a_command_and_sums_it_up(entry: Entry) -> None:
    """The command has the entry's name, and its own help starts as the summary in the list does."""
    command = entry.load()

    assert command.name == entry.name
    told = " ".join((command.help or "").split())
    assert told.startswith(entry.summary.removesuffix("."))


def test_help_lists_every_command_with_its_summary() -> None:
    """In the order of the table."""
    shown = " ".join(CliRunner().invoke(LazyGroup("payment-ledger", entries=COMMANDS), ["--help"]).output.split())

    places = [shown.index(f"{entry.name} {entry.summary}") for entry in COMMANDS]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["staus"], "Did you mean 'status'?"),
        (["audit", "verfy"], "Did you mean 'verify'?"),
        (["xyzzy"], "No such command 'xyzzy'."),
        (["--no-such-option"], "No such option"),
    ],
)
def test_a_word_that_is_no_command_is_named(words: list[str], told: str) -> None:
    """With the command that may have been meant, and exit code 2."""
    ended = CliRunner().invoke(LazyGroup("payment-ledger", entries=COMMANDS), words)

    assert ended.exit_code == 2
    assert told in ended.output


# --- what a command raises -------------------------------------------------------------------------------------------

MODULE = """
import click

if {at_import} is not None:
    raise {at_import}

@click.command("go")
def go():
    raise {at_run}
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give a directory for modules of commands."""
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("commands_of_a_test")]:
        del sys.modules[name]


def group_of(directory: Path, name: str, *, at_import: str = "None", at_run: str = "None", stops: bool) -> LazyGroup:
    """Make a group with one command in a module of its own."""
    module = f"commands_of_a_test_{name}"
    (directory / f"{module}.py").write_text(MODULE.format(at_import=at_import, at_run=at_run))
    return LazyGroup("group", entries=[Entry("go", f"{module}:go", "Go.", stops_cleanly=stops)])


@pytest.mark.parametrize(("stops", "code"), [(True, 0), (False, 1)])
def test_an_interrupt_while_a_command_is_loaded_is_no_error_for_one_that_runs_until_stopped(
    modules: Path, *, stops: bool, code: int
) -> None:
    """`serve` ends well however early it is stopped; an operator's command was cut off."""
    group = group_of(modules, f"interrupted_{code}", at_import="KeyboardInterrupt", stops=stops)

    assert CliRunner().invoke(group, ["go"]).exit_code == code


def test_an_error_that_is_known_is_answered_with_a_sentence(modules: Path) -> None:
    """Without a traceback, and without a password."""
    error = "__import__('psycopg').OperationalError('at postgresql://u:hunter2@db')"
    ended = CliRunner().invoke(group_of(modules, "known", at_run=error, stops=False), ["go"])

    assert ended.exit_code == 1
    assert ended.output == "The database cannot be reached, or was lost: at postgresql://u:***@db\n"


def test_an_error_that_is_not_known_is_not_hidden(modules: Path) -> None:
    """Its traceback is needed."""
    ended = CliRunner().invoke(group_of(modules, "unknown", at_run="RuntimeError('ours')", stops=False), ["go"])

    assert isinstance(ended.exception, RuntimeError)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError(problems=("PORT is wrong",)), 2),
        (NoDataDirectory(data_dir="/var"), 2),
        (DatabaseUnavailable(), 1),
        (CannotListen("here"), 1),
        (PortTaken("here"), 1),
        (psycopg.OperationalError("gone"), 1),
        (psycopg.errors.InsufficientPrivilege("no"), 1),
        (psycopg.errors.SyntaxError("ours"), None),
        (OSError("ours"), None),
        (RuntimeError("ours"), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_the_exit_code_says_whose_fault_it_is(error: Exception, code: int | None) -> None:
    """2: nothing was done, and the command or its settings are wrong; 1: it could not be done."""
    answer = answer_to(error)

    assert code == (None if answer is None else answer[1])
    assert answer is None or answer[0]
