"""Clients that never give up: each request has an idempotency key and is sent again until it has a definite answer."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import httpx

from tests.support.services import Client

ANSWERED_SECONDS_MAX = 120.0


class Answered(NamedTuple):
    """A request and its first definite answer, as bytes. `world` counts the restores before it was sent."""

    path: str
    body: Mapping[str, Any]
    key: str
    status: int
    content: bytes
    payment_id: int
    world: int = 0


def open_users(client: Client, count: int) -> dict[int, Decimal]:
    """Open users with 0, 100, 200, 300 or 400 each. Returns the opening balances by user."""
    openings = {}
    for n in range(count):
        balance = Decimal(100 * (n % 5))
        user = client.post("/users/", {"balance": str(balance)})
        assert user.status_code == httpx.codes.CREATED, user.text
        openings[user.json()["id"]] = balance
    return openings


class Payer(threading.Thread):
    """One client: mixed deposits and withdrawals, one after the other, to any API that answers."""

    def __init__(
        self,
        name: str,
        urls: Sequence[str],
        users: Sequence[int],
        *,
        seed: int = 0,
        pause_seconds: float = 0.0,
        world: Callable[[], int] = int,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self.answered: list[Answered] = []
        self.sent_again = 0
        self.wrong: list[str] = []
        self._urls = urls
        self._users = users
        self._dice = random.Random(f"{seed}-{name}")
        self._pause_seconds = pause_seconds
        self._world = world
        self._waits_since: float | None = None
        self._watched_since = 0.0
        self._waited_seconds_max = 0.0
        self._ending = threading.Event()

    def run(self) -> None:
        clients = [Client(url) for url in self._urls]
        try:
            while not self._ending.wait(self._pause_seconds):
                self._pay(clients)
        except AssertionError as wrong:
            self.wrong.append(str(wrong))
        finally:
            for client in clients:
                client.http.close()

    def finish(self) -> None:
        """Start no new request, and wait until the last one is answered."""
        self._ending.set()
        self.join()
        assert not self.wrong, self.wrong

    def watch_waits(self) -> None:
        """Forget how long requests took until now."""
        self._watched_since, self._waited_seconds_max = time.monotonic(), 0.0

    @property
    def waited_seconds_max(self) -> float:
        """How long the slowest request took since `watch_waits`, or the one under way until now."""
        return max(self._waited_seconds_max, self._waited_seconds(self._waits_since))

    def _waited_seconds(self, since: float | None) -> float:
        return 0.0 if since is None else time.monotonic() - max(since, self._watched_since)

    def _pay(self, clients: Sequence[Client]) -> None:
        kind, field = self._dice.choice([("deposit", "deposit"), ("withdraw", "amount")])
        body = {"user_id": self._dice.choice(self._users), field: f"{self._dice.randint(1, 6000) / 100:.2f}"}
        path, key = f"/payments/{kind}", f"{self.name}-{len(self.answered)}"
        answer = self._until_answered(clients, path, body, key)
        self.answered.append(answer)
        if self._dice.random() < 0.1:  # an impatient client, who sends again after an answer
            again = self._until_answered(clients, path, body, key)
            if again.world != answer.world and again.content != answer.content:
                self.answered.append(again)  # the first one was lost with a restore
            else:
                assert (again.status, again.content) == (answer.status, answer.content), again

    def _until_answered(self, clients: Sequence[Client], path: str, body: Mapping[str, Any], key: str) -> Answered:
        deadline = time.monotonic() + ANSWERED_SECONDS_MAX
        while True:
            world = self._world()
            self._waits_since = time.monotonic()
            try:
                answer = self._dice.choice(clients).post(path, body, key=key)
            except httpx.TransportError:
                answer = None
            finally:
                self._waited_seconds_max = self.waited_seconds_max
                self._waits_since = None
            if answer is not None and answer.status_code in {202, 422}:
                payment_id = answer.json()["payment_id"]
                return Answered(path, body, key, answer.status_code, answer.content, payment_id, world)
            assert answer is None or answer.status_code == 503, answer.text
            assert time.monotonic() < deadline, f"no answer to {key} within {ANSWERED_SECONDS_MAX} s"
            self.sent_again += 1
            time.sleep(0.05)


def wait_for_answers(payers: Sequence[Payer], count: int) -> None:
    """Wait until clients have got so many more answers."""
    deadline = time.monotonic() + ANSWERED_SECONDS_MAX
    wanted = sum(len(payer.answered) for payer in payers) + count
    while sum(len(payer.answered) for payer in payers) < wanted:
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
