"""The whole service as a client sees it: real processes, a real Postgres, and a gateway that errs and times out."""

import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from tests.chaos.payer import open_users
from tests.support.consistency import differences
from tests.support.ports import free_port
from tests.support.services import Client, Service, is_ready, serving

CLIENTS = 16

pytestmark = pytest.mark.timeout(300)


def test_one_key_sent_fifty_times_at_once_makes_one_payment(tmp_path: Path) -> None:
    """All fifty answers are equal, byte for byte."""

    def ask(client: Client) -> httpx.Response:
        return client.post("/payments/withdraw", {"user_id": 1, "amount": 50}, key="once")

    with serving(tmp_path) as service, ThreadPoolExecutor(50) as pool, ExitStack() as stack:
        clients = [stack.enter_context(Client(service.url)) for _ in range(50)]
        clients[0].post("/users/", {"balance": 1000})

        answers = list(pool.map(ask, clients))

        clients[0].settled([answers[0].json()["payment_id"]])
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.content for answer in answers}) == 1
        assert len(clients[0].pages("/payments")) == 1


def test_many_clients_and_a_bad_gateway_leave_the_ledger_right(tmp_path: Path) -> None:
    """16 clients send 500 mixed payments, and the gateway has 25 % errors and 10 % time-outs."""
    with serving(tmp_path) as service, Client(service.url) as client:
        openings = open_users(client, 20)

        payment_ids = pay(service.url, users=20, payments=500)
        client.settled(payment_ids)

        check_consistency(service, openings, payment_ids)


def test_a_power_cut_in_the_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """All processes are killed at once, Postgres too. After the next start, each payment that was answered 202 ends."""
    service = Service(tmp_path)
    service.start()
    with Client(service.url) as client:
        openings = open_users(client, 20)
    accepted: list[int] = []
    paying = threading.Thread(
        target=pay, args=(service.url,), kwargs={"users": 20, "payments": 1000, "accepted": accepted}
    )
    paying.start()
    while len(accepted) < 200:
        time.sleep(0.01)
    service.kill_everything()
    paying.join()

    service.start()
    with Client(service.url) as client:
        client.settled(accepted)
        everything = [payment["payment_id"] for payment in client.pages("/payments", limit=500)]
        client.settled(everything)

    assert set(accepted) <= set(everything)
    check_consistency(service, openings, everything)
    service.stop()


def test_two_of_every_part_work_as_one(tmp_path: Path) -> None:
    """Two APIs, workers and projectors on one database have no conflicts, and give the same result."""
    port = free_port()
    with (
        serving(tmp_path) as service,
        service.another("api", PORT=str(port)),
        service.another("worker"),
        service.another("projector"),
        Client(service.url) as client,
        Client(f"http://127.0.0.1:{port}") as other,
    ):
        while not is_ready(f"http://127.0.0.1:{port}"):
            time.sleep(0.05)
        openings = open_users(client, 20)

        alternating = [
            one.post("/payments/deposit", {"user_id": 1, "deposit": 1}, key=f"{n}")
            for n, one in enumerate([client, other] * 25)
        ]
        replayed = other.post("/payments/deposit", {"user_id": 1, "deposit": 1}, key="0")
        with ThreadPoolExecutor(2) as pool:
            paying = [
                pool.submit(pay, url, users=20, payments=250, name=url)
                for url in (service.url, f"http://127.0.0.1:{port}")
            ]
            payment_ids = [payment_id for future in paying for payment_id in future.result()]
        payment_ids += [answer.json()["payment_id"] for answer in alternating]
        client.settled(payment_ids)

        assert {answer.status_code for answer in alternating} == {202}
        assert replayed.content == alternating[0].content
        check_consistency(service, openings, payment_ids)


@pytest.mark.slow
def test_ten_thousand_payments_to_one_account_keep_a_right_running_balance(tmp_path: Path) -> None:
    """Each settled entry follows from the entry before it."""
    quiet = {"DEMO_GATEWAY_ERROR_RATE": "0", "DEMO_GATEWAY_TIMEOUT_RATE": "0", "GATEWAY_TIMEOUT_SECONDS": "10"}
    with (
        serving(tmp_path, **quiet, WORKER_PROCESSING_TIMEOUT_SECONDS="30") as service,
        Client(service.url) as client,
    ):
        client.post("/users/", {"balance": 1_000_000})
        wishes = [
            {"type": "withdraw" if n % 3 == 0 else "deposit", "user_id": 1, "amount": f"{n % 97 + 1}.{n % 100:02}"}
            for n in range(10_000)
        ]
        payment_ids: list[int] = []
        for start in range(0, len(wishes), 1000):
            answer = client.post("/payments/batch", {"payments": wishes[start : start + 1000]})
            payment_ids += [result["payment_id"] for result in answer.json()["results"]]

        settled = client.settled(payment_ids)
        entries = client.pages("/users/1/statement", limit=500)

        assert {payment["status"] for payment in settled.values()} == {"success"}
        assert len(entries) == 10_001
        balance = Decimal(0)
        for entry in entries:
            balance += Decimal(str(entry["amount"]))
            assert Decimal(str(entry["balance_after"])) == balance
        assert Decimal(str(client.get("/users/1")["balance"])) == balance


def pay(url: str, *, users: int, payments: int, accepted: list[int] | None = None, name: str = "") -> list[int]:
    """Send mixed payments from many clients at once, until all are sent or the service is gone.

    Returns the answered ones.
    """
    made: list[int] = accepted if accepted is not None else []

    def send(seed: int) -> None:
        with Client(url) as client:
            send_all(client, seed, random.Random(seed))

    def send_all(client: Client, seed: int, dice: random.Random) -> None:
        for n in range(payments // CLIENTS + (seed < payments % CLIENTS)):
            amount = f"{dice.randint(1, 6000) / 100:.2f}"
            kind, field = dice.choice([("deposit", "deposit"), ("withdraw", "amount")])
            body = {"user_id": dice.randint(1, users), field: amount}
            try:
                answer = client.post(f"/payments/{kind}", body, key=f"{name}-{seed}-{n}")
            except httpx.TransportError:
                return
            if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                return
            assert answer.status_code in {202, 422}, answer.text
            made.append(answer.json()["payment_id"])

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(send, range(CLIENTS)))
    return made


def check_consistency(service: Service, openings: dict[int, Decimal], payment_ids: Sequence[int]) -> None:
    """Compare the ledger with itself and with the gateway's book, to the cent."""
    with Client(service.url) as client:
        check_consistency_of(client, openings, payment_ids)
    proof = service.run("audit", "verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr


def check_consistency_of(client: Client, openings: dict[int, Decimal], payment_ids: Sequence[int]) -> None:
    payments = client.pages("/payments", limit=500)

    assert differences(client, openings, payment_ids) == []
    assert {payment["status"] for payment in payments} <= {"success", "failed"}
    assert sum(payment["status"] == "success" for payment in payments) > len(payments) / 3
