"""The command line as an operator and a health check use it: real processes, a real Postgres."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import LiteralString
from urllib.parse import urlencode
from uuid import uuid4

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.commands import Fail, OpenAccount, RecordGatewayOutcome, RequestDeposit
from ledger.database import Database
from ledger.writer import Writer
from projections.projector import Projector
from tests.api.seeds import Seeds
from tests.databases import remove
from tests.ledger.postgres_proxy import proxy_before
from tests.ports import free_port
from tests.services import CHECKOUT

OWN_HOST = socket.gethostname()
PATIENCE_SECONDS = 30.0


class Shell:
    """A directory and an environment in which commands are run."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "COV"))}
        self.environment = kept | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"} | environment

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *words],
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a command beside the test; what it wrote is in `log`."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", *words],
                cwd=self.directory,
                env=self.environment | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
            )
        with process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def log(self) -> Path:
        """What running commands have written."""
        return self.directory / "log"


@pytest.fixture
def shell(tmp_path: Path, database: Database) -> Shell:
    """Give a shell whose settings name a migrated, empty ledger."""
    return Shell(tmp_path, DATABASE_URL=database.url, LEDGER_SCHEMA=database.schema)


@pytest.fixture
def writer(database: Database) -> Iterator[Writer]:
    """Give a running writer."""
    writer = Writer(database)
    writer.start()
    yield writer
    writer.stop()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def declined_deposit(writer: Writer) -> int:
    """Make a payment that has failed at the gateway; the first of the ledger is payment 1."""
    account = writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result()
    payment = writer.submit(
        RequestDeposit(command_id="ask", account_id=account.account_id, amount=Decimal(200), fee_rate_ppm=20_000)
    ).result()
    writer.submit(
        RecordGatewayOutcome(
            command_id="answer",
            payment_id=payment.payment_id,
            account_id=account.account_id,
            seen_version=1,
            series=1,
            gateway_key=f"payment-{payment.payment_id}",
            attempt=1,
            outcome="declined",
            error="declined",
            then=Fail(),
        )
    ).result()
    return payment.payment_id


def project(database: Database) -> None:
    """Bring the read models up to the log's end."""
    projector = Projector(database)
    thread = threading.Thread(target=projector.run)
    thread.start()
    with closing(database.connect(application="payment-ledger tests")) as connection:
        behind = "SELECT count(*) FROM tracking, head WHERE tracking.position < head.position"
        wait_until(lambda: connection.execute(behind).fetchone() == (0,))
    projector.stop()
    thread.join()


# --- what is wrong is said before anything is done -------------------------------------------------------------------


def test_a_wrong_setting_is_named_and_nothing_is_started(tmp_path: Path) -> None:
    """All of them at once, with what was expected."""
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
    ended = Shell(tmp_path, DATABASE_URL=postgres_url, LEDGER_SCHEMA=f"test_{uuid4().hex[:8]}").run("worker")

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
        assert json.loads(third.stdout) == {"applied": []}
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


def as_url(conninfo: str) -> str:
    """Spell a connection string as the URL that the settings want."""
    return f"postgresql://?{urlencode(conninfo_to_dict(conninfo))}"


# --- a part by itself ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "number"),
    [
        ("api", signal.SIGTERM),
        ("worker", signal.SIGINT),
        ("projector", signal.SIGTERM),
        ("gateway", signal.SIGINT),
    ],
)
def test_a_part_runs_alone_is_ready_and_stops_cleanly(shell: Shell, part: str, number: signal.Signals) -> None:
    """It is not ready before it runs nor after."""
    ports = {"PORT": str(free_port()), "DEMO_GATEWAY_PORT": str(free_port())}
    before = shell.run("ready", part, **ports)
    with shell.running(part, **ports) as process:
        wait_until(lambda: shell.run("ready", part, **ports).returncode == 0)
        process.send_signal(number)

        assert process.wait(10) == 0, shell.log.read_text()
    after = shell.run("ready", part, "--json", **ports)

    assert (before.returncode, after.returncode) == (1, 1)
    assert "not ready" in before.stderr
    assert json.loads(after.stdout) == {"part": part, "ready": False}


@pytest.mark.parametrize(("words", "environment"), [(["--chaos", "7"], {}), ([], {"DEMO_GATEWAY_CHAOS_SEED": "7"})])
def test_the_chaos_gateway_serves_in_place_of_the_demo_gateway(
    shell: Shell, words: list[str], environment: dict[str, str]
) -> None:
    """By an option or by a setting; its seed is in its log, and in what it says of its health."""
    port = str(free_port())
    with shell.running("gateway", *words, DEMO_GATEWAY_PORT=port, **environment) as process:
        wait_until(lambda: shell.run("ready", "gateway", DEMO_GATEWAY_PORT=port).returncode == 0)
        health = httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).json()
        process.send_signal(signal.SIGTERM)
        ended = process.wait(10)

    assert (ended, health) == (0, {"status": "ok", "chaos_seed": 7})
    assert '"seed":7' in shell.log.read_text()


def test_a_seed_that_is_none_is_refused(shell: Shell) -> None:
    """By the option, with what it takes."""
    ended = shell.run("gateway", "--chaos", "-1")

    assert ended.returncode == 2
    assert "--chaos" in ended.stderr


def test_a_part_stops_when_its_input_ends(shell: Shell) -> None:
    """So no part outlives a service that was killed."""
    with shell.running("worker", "--until-eof") as worker:
        wait_until(lambda: shell.run("ready", "worker").returncode == 0)
        assert worker.stdin is not None
        worker.stdin.close()

        assert worker.wait(10) == 0, shell.log.read_text()


@pytest.mark.parametrize(("part", "setting"), [("api", "PORT"), ("gateway", "DEMO_GATEWAY_PORT")])
def test_a_part_names_a_port_that_is_taken(shell: Shell, part: str, setting: str) -> None:
    """And does not share it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ended = shell.run(part, **{setting: str(port)})

        assert ended.returncode == 1
        assert f"127.0.0.1:{port} is taken" in ended.stderr


@pytest.mark.parametrize(
    ("instance", "seconds_ago", "ready"),
    [
        (f"{OWN_HOST}-17-0a1b2c3d", 5, True),
        (f"{OWN_HOST}-17-0a1b2c3d", 15, False),
        ("elsewhere-17-0a1b2c3d", 0, False),
        (f"{OWN_HOST}-1-17-0a1b2c3d", 0, False),
    ],
)
def test_only_a_living_worker_of_this_machine_is_ready(
    shell: Shell, database: Database, instance: str, seconds_ago: int, *, ready: bool
) -> None:
    """A health check is about its own container."""
    with closing(database.connect(application="payment-ledger tests")) as connection:
        connection.execute(
            "INSERT INTO heartbeats (part, instance, at) VALUES ('worker', %s, now() - %s * interval '1 s')",
            [instance, seconds_ago],
        )

    ended = shell.run("ready", "worker")

    assert (ended.returncode == 0) == ready


# --- status ----------------------------------------------------------------------------------------------------------


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
    as_owner(database, "UPDATE head SET withheld = true")

    ended = shell.run("status", "--json")

    assert ended.returncode == 1
    assert [wrong.partition(" that was ")[0] for wrong in json.loads(ended.stdout)["wrong"]] == [
        "this is a copy of the ledger"
    ]


# --- dead letters ----------------------------------------------------------------------------------------------------


def test_a_dead_letter_is_found_shown_and_sent_to_the_gateway_again(
    shell: Shell, database: Database, writer: Writer
) -> None:
    """With who did it and why, in the payment's history for good."""
    payment_id = declined_deposit(writer)
    project(database)

    listed = json.loads(shell.run("dlq", "list", "--json").stdout)
    others = json.loads(shell.run("dlq", "list", "--state", "in_doubt", "--json").stdout)
    table = shell.run("dlq", "list").stdout
    requeued = shell.run("dlq", "requeue", str(payment_id), "--why", "it was down", "--by", "Ada", "--json")
    shown = json.loads(shell.run("dlq", "show", str(payment_id), "--json").stdout)
    told = shell.run("dlq", "show", str(payment_id)).stdout

    assert [(letter["payment_id"], letter["amount"], letter["state"]) for letter in listed] == [(1, 200, "failed")]
    assert others == []
    assert "200.00 USD" in table
    assert requeued.returncode == 0
    assert json.loads(requeued.stdout) == {"payment_id": payment_id, "state": "processing"}
    last = shown["events"][-1]
    assert (last["topic"], last["by"], last["data"]["why"]) == ("payment.requeued", "Ada", "it was down")
    assert last["data"]["gateway_key"] == "payment-1-2"
    assert "payment.requeued" in told


def test_a_gateway_that_cannot_be_asked_gets_the_old_key_again(shell: Shell, writer: Writer) -> None:
    """A new key could move the money a second time there."""
    payment_id = declined_deposit(writer)

    shell.run("dlq", "requeue", str(payment_id), "--why", "again", "--by", "Ada", GATEWAY_INQUIRY="false")
    shown = json.loads(shell.run("dlq", "show", str(payment_id), "--json").stdout)

    assert shown["events"][-1]["data"]["gateway_key"] == "payment-1"


def test_a_dead_letter_is_resolved(shell: Shell, database: Database, writer: Writer) -> None:
    """`failed` closes a failed letter, and then there is none."""
    payment_id = declined_deposit(writer)

    resolved = shell.run("dlq", "resolve", str(payment_id), "--outcome", "failed", "--why", "known", "--by", "Ada")
    project(database)
    listed = shell.run("dlq", "list")

    assert resolved.returncode == 0
    assert resolved.stdout == f"Payment {payment_id} is now failed.\n"
    assert "No dead letters" in listed.stdout


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "1025"], 1, "There is no such payment"),
        (["requeue", "1025", "--why", "x", "--by", "y"], 1, "There is no such payment"),
        (["requeue", "1", "--why", " ", "--by", "y"], 2, "--why"),
        (["requeue", "1", "--why", "x"], 2, "--by"),
        (["requeue", "0", "--why", "x", "--by", "y"], 2, "0"),
        (["resolve", "1", "--outcome", "maybe", "--why", "x", "--by", "y"], 2, "maybe"),
    ],
)
def test_a_decision_that_cannot_be_is_refused_with_a_sentence(
    shell: Shell, words: list[str], code: int, said: str
) -> None:
    """1 when the ledger refuses, 2 when the command is wrong."""
    ended = shell.run("dlq", *words)

    assert ended.returncode == code
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


# --- repair ---------------------------------------------------------------------------------------------------------


def test_a_rebuild_mends_read_models_and_says_what_was_wrong(shell: Shell, database: Database, writer: Writer) -> None:
    """The exit code is that of what was found; the second time there is nothing to find."""
    declined_deposit(writer)
    project(database)
    as_owner(database, "UPDATE account_balance SET posted_minor = posted_minor + 1")

    checked = shell.run("rebuild", "--check-only", "--json")
    mended = shell.run("rebuild")
    again = shell.run("rebuild", "--json")

    assert (checked.returncode, mended.returncode, again.returncode) == (1, 1, 0)
    differing = {table["table"]: table["differing"] for table in json.loads(checked.stdout)["differences"]}
    assert differing["account_balance"] == 1
    assert "100001" in mended.stdout


def as_owner(database: Database, statement: LiteralString) -> None:
    """Do what the service may not do."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute(statement)


# --- the benchmark ---------------------------------------------------------------------------------------------------


def test_the_benchmark_is_run_from_any_directory(tmp_path: Path) -> None:
    """It comes with the checkout, and its words are its own."""
    done = Shell(tmp_path).run("bench", "--help")

    assert (done.returncode, done.stderr) == (0, "")
    assert "--scenario" in done.stdout


def test_a_wrong_word_for_the_benchmark_is_refused(tmp_path: Path) -> None:
    """Before anything is started."""
    done = Shell(tmp_path).run("bench", "--scenario", "14")

    assert done.returncode == 2
    assert "'14'" in done.stderr


def test_an_installed_package_has_no_benchmark_and_says_so(tmp_path: Path) -> None:
    """Nothing of the tests is installed with it."""
    for package in ("ledger", "projections", "processors", "api"):
        copytree(CHECKOUT / package, tmp_path / "installed" / package, ignore=ignore_patterns("__pycache__", "static"))

    shell = Shell(tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    for name in [name for name in shell.environment if name.startswith("COV")]:
        del shell.environment[name]  # what is not covered of the copy is not missing

    done = shell.run("bench")

    assert done.returncode == 2
    assert "make bench" in done.stderr
