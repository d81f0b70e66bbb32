"""The requests that both load generators send: `wrk.lua` reads the same fields and builds the same requests.

Every payment has an idempotency key of its own, made of the run's name and a counter, so that none is a replay of
another run's. Amounts go from 1.00 to 9.99, and accounts are drawn at random.
"""

import random
from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

Kind = Literal["deposits", "payments", "batches", "paths"]


class Traffic(Struct, frozen=True, kw_only=True):
    """Requests of one kind: deposits, deposits and withdrawals in turn, batches of both, or GETs of listed paths.

    Every key starts with `run`. Accounts are 1 to `accounts`. `paths_file` lists paths, one a line. `bearer` is the
    caller's key, if the service asks for one.
    """

    kind: Kind
    run: str = ""
    accounts: int = 1
    batch_size: int = 1
    paths_file: str = ""
    bearer: str = ""

    @property
    def authorization(self) -> str:
        """The header line with the caller's key; empty without one."""
        return f"Authorization: Bearer {self.bearer}\r\n" if self.bearer else ""

    @property
    def payments_a_request(self) -> int:
        """How many payments one request makes."""
        return {"deposits": 1, "payments": 1, "batches": self.batch_size, "paths": 0}[self.kind]


def requests(traffic: Traffic) -> Iterator[bytes]:
    """Yield requests without end, as bytes."""
    dice = random.Random(traffic.run)
    if traffic.kind == "paths":
        with open(traffic.paths_file, encoding="utf-8") as lines:  # noqa: PTH123 - keeps the generator's start short
            made = [get_request(line.strip(), traffic.authorization) for line in lines]
        while True:
            yield dice.choice(made)
    count = 0
    while True:
        count += 1
        if traffic.kind == "batches":
            yield _batch(traffic, count, dice)
        else:
            yield _payment(traffic, count, dice)


def get_request(path: str, headers: str = "") -> bytes:
    """Build a GET of a path, with more lines of headers."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


def _post(path: str, headers: str, body: str) -> bytes:
    head = f"POST /api/v1/payments/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return f"{head}{headers}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def _payment(traffic: Traffic, count: int, dice: random.Random) -> bytes:
    account, amount = dice.randint(1, traffic.accounts), f"{dice.randint(100, 999) / 100:.2f}"
    is_deposit = traffic.kind == "deposits" or count % 2 == 1
    path, field = ("deposit", "deposit") if is_deposit else ("withdraw", "amount")
    headers = f"{traffic.authorization}Idempotency-Key: {traffic.run}-{count}\r\n"
    return _post(path, headers, f'{{"user_id":{account},"{field}":{amount}}}')


def _batch(traffic: Traffic, count: int, dice: random.Random) -> bytes:
    items = (
        f'{{"type":"{"deposit" if n % 2 else "withdraw"}","user_id":{dice.randint(1, traffic.accounts)},'
        f'"amount":{dice.randint(100, 999) / 100:.2f},"idempotency_key":"{traffic.run}-{count}-{n}"}}'
        for n in range(traffic.batch_size)
    )
    return _post("batch", traffic.authorization, f'{{"payments":[{",".join(items)}]}}')
