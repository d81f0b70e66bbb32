"""The whole service as one command: it survives dead processes, stops in order, and leaves nothing behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.support.services import Client, Service, serving
from tests.support.waiting import wait_until

PARTS = ("api", "worker", "projector", "gateway")
STOP_SECONDS_MAX = 10.0

pytestmark = pytest.mark.timeout(180)


def part_processes(service: Service) -> dict[str, psutil.Process]:
    """Return the running process of each part."""
    assert service._process is not None
    found = {}
    for child in psutil.Process(service._process.pid).children():
        with suppress(psutil.NoSuchProcess):
            words = child.cmdline()
            if "--until-eof" in words:
                found[words[words.index("--until-eof") - 1]] = child
    return found


def settle_a_deposit(service: Service) -> None:
    with Client(service.url) as client:
        user = client.post("/users/", {"balance": 1000}).json()["id"]
        payment = client.post("/payments/deposit", {"user_id": user, "deposit": 200}).json()["payment_id"]
        assert client.settled([payment])[payment]["status"] == "success"
        assert client.get(f"/users/{user}")["balance"] == 1196.0


def log_of(service: Service) -> str:
    return service._log.read_text()


@pytest.fixture
def faultless() -> dict[str, str]:
    """Return settings with which the demo gateway neither errs nor times out."""
    return {"DEMO_GATEWAY_ERROR_RATE": "0", "DEMO_GATEWAY_TIMEOUT_RATE": "0"}


def test_it_survives_the_death_of_each_part_and_stops_cleanly(tmp_path: Path, faultless: dict[str, str]) -> None:
    """The path has a space, the directory has an `api` package of its own, and a client stalls."""
    directory = tmp_path / "a path with spaces"
    (directory / "api").mkdir(parents=True)
    (directory / "api" / "__init__.py").touch()
    (directory / "api" / "cli.py").write_text("raise SystemExit('this is somebody else')\n")
    service = Service(directory, **faultless)
    service.command = lambda *words: [sys.executable, "-P", "-m", "api.cli", *words]  # type: ignore[method-assign]
    service.start()
    try:
        wait_until(lambda: "is ready" in log_of(service))
        settle_a_deposit(service)
        killed = part_processes(service)
        for process in killed.values():
            process.kill()
        postmaster = postmaster_of(directory)
        os.kill(postmaster, signal.SIGKILL)

        wait_until(lambda: set(part_processes(service)) == set(PARTS))
        wait_until(lambda: postmaster_of(directory) != postmaster and service.is_ready())
        wait_until(lambda: gateway_answers(service))
        settle_a_deposit(service)

        assert {process.pid for process in part_processes(service).values()}.isdisjoint(
            process.pid for process in killed.values()
        )
        for part in PARTS:
            assert f'"died":"{part}","ending":"SIGKILL"' in log_of(service)
        assert "postgres_died" in log_of(service)
        socket_directory = Path((directory / "var" / "postgres" / "socket").read_text())
        with half_a_request(service):
            assert service.stop() < STOP_SECONDS_MAX
        assert not socket_directory.exists()
        assert not (directory / "var" / "postgres" / "cluster" / "postmaster.pid").exists()
    except BaseException:
        service.kill_everything()
        raise


def test_parts_end_with_a_killed_service_and_a_new_start_continues(tmp_path: Path, faultless: dict[str, str]) -> None:
    """It starts at once on the same ports, and everything acknowledged is there."""
    service = Service(tmp_path, **faultless)
    service.start()
    wait_until(lambda: "is ready" in log_of(service))
    settle_a_deposit(service)
    orphans = list(part_processes(service).values())
    assert service._process is not None
    service._process.kill()
    service._process.wait()

    service.start()

    _, alive = psutil.wait_procs(orphans, timeout=10)
    try:
        assert alive == []
        wait_until(service.is_ready)  # an orphan may have answered that it was ready before
        with Client(service.url) as client:
            assert client.get("/payments/1")["status"] == "success"
        settle_a_deposit(service)
    finally:
        service.stop()


def test_two_services_run_side_by_side_and_two_may_share_their_data(tmp_path: Path, faultless: dict[str, str]) -> None:
    """Each checkout has its own users, and a second service on one data directory has the same ones."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with serving(tmp_path / "one", **faultless) as one, Client(one.url) as client:
        client.post("/users/", {"balance": 1})
        with serving(tmp_path / "two", **faultless) as two, Client(two.url) as other_client:
            other_client.post("/users/", {"balance": 2})
        sharing = Service(tmp_path / "one", **faultless)
        sharing.start()
        with Client(sharing.url) as sharing_client:
            sharing_client.post("/users/", {"balance": 3})
        assert sharing._process is not None
        sharing._process.terminate()
        assert sharing._process.wait(STOP_SECONDS_MAX) == 0, log_of(sharing)

        assert client.get("/users/1")["balance"] == 1
        assert client.get("/users/2")["balance"] == 3


@pytest.mark.parametrize("name", ["PORT", "DEMO_GATEWAY_PORT"])
def test_a_taken_port_is_named_before_anything_is_started(tmp_path: Path, name: str) -> None:
    """The message names the setting that chooses another port."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ended = Service(tmp_path, **{name: str(port)}).run("serve")

        assert ended.returncode == 1
        assert f"127.0.0.1:{port} is taken by another program; {name} chooses another port." in ended.stderr
        assert list(tmp_path.iterdir()) == []


def test_two_equal_ports_are_refused(tmp_path: Path) -> None:
    """The API or the demo gateway could not start."""
    service = Service(tmp_path)

    ended = Service(tmp_path, PORT=str(service.port), DEMO_GATEWAY_PORT=str(service.port)).run("serve")

    assert ended.returncode == 1
    assert "must differ" in ended.stderr


@pytest.mark.parametrize("after_seconds", [0.0, 0.8, 1.6, 2.4])
def test_a_stop_while_it_starts_leaves_nothing_behind(tmp_path: Path, after_seconds: float) -> None:
    """It is stopped while it creates the database, migrates it or starts the parts."""
    service = Service(tmp_path)
    with service._log.open("ab") as log:
        service._process = process = subprocess.Popen(
            service.command("serve"), cwd=tmp_path, env=service.environment, stdout=log, stderr=log
        )
    wait_until((tmp_path / "var").exists)
    time.sleep(after_seconds)  # the test is about this moment
    process.send_signal(signal.SIGINT)

    code = process.wait(STOP_SECONDS_MAX)

    assert code == 0, log_of(service)
    assert "Traceback" not in log_of(service)
    assert service_processes(tmp_path) == []
    assert not (tmp_path / "var" / "postgres" / "socket").exists()


def test_a_second_interrupt_kills_hanging_parts(tmp_path: Path, faultless: dict[str, str]) -> None:
    """After the first interrupt a hanging part gets time to stop, and after the second it gets none."""
    service = Service(tmp_path, **faultless)
    service.start()
    wait_until(lambda: "is ready" in log_of(service))
    hanging = part_processes(service)["api"]
    hanging.suspend()
    assert service._process is not None

    service._process.send_signal(signal.SIGINT)
    began = time.monotonic()
    time.sleep(0.2)
    service._process.send_signal(signal.SIGINT)
    code = service._process.wait(STOP_SECONDS_MAX)

    assert code == 0
    assert time.monotonic() - began < 2.5
    assert '"killed":"api","because":"hurry"' in log_of(service)
    assert service_processes(tmp_path) == []


def test_a_part_that_cannot_start_ends_the_service_and_is_named(tmp_path: Path, postgres_url: str) -> None:
    """The demo gateway may not use its schema here, and no other part keeps running."""
    with owned_database(postgres_url) as url:
        service = Service(tmp_path, DATABASE_URL=url, LEDGER_SCHEMA=f"test_{uuid4().hex[:8]}")

        ended = service.run("serve")

        assert ended.returncode == 1
        assert "The gateway has ended 3 times while starting" in ended.stderr
        assert service_processes(tmp_path) == []


@contextmanager
def owned_database(postgres_url: str) -> Iterator[str]:
    """Yield a database whose owner may do everything that the ledger needs, but not use the demo gateway's schema."""
    name = f"test_{uuid4().hex[:8]}"
    identifier = sql.Identifier(name)
    with closing(psycopg.connect(postgres_url, autocommit=True)) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN CREATEROLE").format(identifier))
        connection.execute(sql.SQL("CREATE DATABASE {0} OWNER {0}").format(identifier))
        with closing(psycopg.connect(make_conninfo(postgres_url, dbname=name), autocommit=True)) as inside:
            inside.execute("CREATE SCHEMA demo_gateway")
        host = conninfo_to_dict(postgres_url)["host"]
        try:
            yield f"postgresql://{name}@/{name}?host={host}"
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))
            rows = connection.execute(
                "SELECT r.rolname FROM pg_roles r JOIN pg_auth_members m ON m.roleid = r.oid"
                " JOIN pg_roles u ON u.oid = m.member WHERE u.rolname = %s",
                [name],
            ).fetchall()
            for (role,) in {*rows, (name,)}:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


@contextmanager
def half_a_request(service: Service) -> Iterator[None]:
    """Keep a request open whose body is never completed."""
    with socket.create_connection(("127.0.0.1", service.port)) as client:
        client.sendall(b"POST /api/v1/users/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        yield


def gateway_answers(service: Service) -> bool:
    return service.run("ready", "gateway").returncode == 0


def postmaster_of(directory: Path) -> int:
    with suppress(FileNotFoundError, ValueError):
        return int((directory / "var" / "postgres" / "cluster" / "postmaster.pid").read_text().split("\n")[0])
    return 0


def service_processes(directory: Path) -> list[psutil.Process]:
    """Return the processes that work in a directory."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cwd().startswith(str(directory)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
