"""A part of the service as a process of its own: ready while it runs, and stopped cleanly."""

import json
import signal
import socket
from contextlib import closing

import httpx
import pytest

from ledger.store.database import Database
from tests.api.cli.shell import Shell
from tests.support.ports import free_port
from tests.support.waiting import wait_until

OWN_HOST = socket.gethostname()


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
