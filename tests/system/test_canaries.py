"""No secret and no body is in any output: marker strings, planted wherever something comes in, are looked for there.

The service is real, with its log at `debug`. Each marker names its place, so that one that is found says where it is
from. Words of clients that the contract wants recorded (a reason, an idempotency key) are not planted.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from ledger.store.database import Database
from tests.support.databases import execute, fresh_database
from tests.support.gateways.misbehaving import Connection, MisbehavingServer, http
from tests.support.services import Client, Service, serving

pytestmark = pytest.mark.timeout(300)

MARK = "canary"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def canary(place: str) -> str:
    """Return the marker of a place. It has the form of an id, so that little refuses it for its form."""
    return f"{MARK}-{place}-5f1d"


def found_in(text: str) -> list[str]:
    """Return the places whose markers are in a text."""
    return sorted(set(re.findall(rf"(?i){MARK}-([a-z-]+)-5f1d", text)))


def events_in(log: str) -> set[str]:
    """Return the events of the lines of a log."""
    return set(re.findall(r'"event":"([a-z_]+)"', log))


SECRET_FIELDS = {
    "Authorization": f"Bearer {canary('header-authorization')}",
    "Cookie": f"session={canary('header-cookie')}",
    "X-API-Key": canary("header-api-key"),
    "User-Agent": canary("header-user-agent"),
    "Referer": f"https://shop.example/?token={canary('header-referer')}",
    "Origin": f"https://{canary('header-origin')}.example",
    "X-Forwarded-For": canary("header-forwarded"),
    "X-Request-ID": f"{canary('header-request-id')} is not an id",
    "traceparent": f"00-{canary('header-traceparent')}-01",
    "tracestate": f"vendor={canary('header-tracestate')}",
    "Prefer": canary("header-prefer"),
    "Accept": f"application/{canary('header-accept')}",
}

BODIES: list[tuple[str, bytes]] = [
    ("/users", b'{"balance": "%s"}' % canary("body-balance").encode()),
    ("/users", b'{"balance": 5, "currency": "%s"}' % canary("body-currency").encode()),
    ("/users", b'{"balance": 5, "card": "%s"}' % canary("body-unknown-field").encode()),
    ("/users", b"{%s" % canary("body-malformed").encode()),
    ("/payments/deposit", b'{"user_id": "%s", "deposit": 1}' % canary("body-user-id").encode()),
    ("/payments/deposit", b'{"user_id": 1, "deposit": "%s"}' % canary("body-amount").encode()),
    ("/payments/withdraw", b'{"user_id": 1, "amount": 1, "iban": "%s"}' % canary("body-iban").encode()),
    ("/payments/withdraw", b'["%s"]' % canary("body-array").encode()),
    ("/payments/batch", b'{"payments": [{"type": "%s"}, "%s"]}' % ((canary("body-batch").encode(),) * 2)),
    ("/payments/batch", b'{"payments": "%s"}' % canary("body-no-batch").encode()),
    ("/dlq/1/resolve", b'{"outcome": "%s", "why": "x"}' % canary("body-outcome").encode()),
]

ADDRESSES = [
    f"/{canary('url-unknown')}",
    f"/api/v1/users/{canary('url-user')}",
    f"/api/v1/payments/{canary('url-payment')}/events",
    f"/api/v1/payments?user_id={canary('url-filter')}",
    f"/api/v1/payments?cursor={canary('url-cursor')}",
    f"/api/v1/users/1/balance?at={canary('url-time')}",
    f"/api/v1/dlq?state={canary('url-state')}",
    f"/livez?token={canary('url-token')}",
    f"/problems/{canary('url-problem')}",
]


def answers(connection: Connection) -> None:
    """Answer as gateways do, well and badly, and put a marker into every header and body."""
    secret = canary("gateway-header").encode()
    fields = b"X-Secret: %s\r\nSet-Cookie: a=%s\r\nRetry-After: %s\r\n" % ((secret,) * 3)
    script = {
        1: http("200 OK", b'{"status":"ok","note":"%s"}' % canary("gateway-note").encode()),
        2: http("402 Payment Required", b'{"status":"%s"}' % canary("gateway-refusal").encode()),
        3: http("200 OK", canary("gateway-text").encode()),
        4: b"HTTP/1.1 %s\r\n%s\r\n\r\n" % ((canary("gateway-protocol").encode(),) * 2),
    }
    while request := connection.read_request():
        named = re.search(rb'"payment_id": ?([0-9]+)', request)
        number = int(named[1]) if named else 3
        answer = script.get(number // 1024 + 1, script[3])
        connection.send(answer.replace(b"\r\n", b"\r\n" + fields, 1))


@contextmanager
def service_with_secrets(directory: Path, url: str) -> Iterator[tuple[Service, Database, MisbehavingServer]]:
    """Run the service on a database and with a gateway whose passwords are markers."""
    with MisbehavingServer(answers) as gateway, fresh_database(url) as own:
        secret_url = with_password(own, canary("setting-database"))
        settings = {
            "DATABASE_URL": secret_url,
            "DEMO_GATEWAY": "false",
            "PAYMENT_GATEWAY_URL": gateway.url.replace("://", f"://shop:{canary('setting-gateway')}@") + "/v1",
            "GATEWAY_MAX_ATTEMPTS": "2",
            "LOG_LEVEL": "debug",
            "CORS_ORIGINS": "*",  # else a request with an origin goes no further
        }
        with serving(directory, **settings) as service:
            yield service, Database(own), gateway


def with_password(url: str, password: str) -> str:
    """Put a password into a URL. The server of the tests asks for none."""
    parts = urlsplit(url)
    user = parts.username or "postgres"
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{host}"))


def test_no_marker_that_came_in_goes_out(tmp_path: Path, postgres_url: str) -> None:
    """Neither to clients nor to the log, the metrics, the events, the health, the documentation or the settings."""
    with service_with_secrets(tmp_path, postgres_url) as (service, database, gateway), Client(service.url) as client:
        outputs = {"problems": send_everything(service.url)}
        payments = pay(client)
        while_it_cannot_write(client, database)
        outputs["events"] = str([client.get(f"/payments/{each}/events") for each in payments]) + stored(database)
        outputs["payments"] = str(client.pages("/payments")) + str(client.get("/dlq"))
        for path in ("/api/v1/health", "/api/v1/metrics", "/readyz", "/docs/openapi.json"):
            outputs[path] = httpx.get(service.url + path, headers=SECRET_FIELDS, trust_env=False).text
        for words in (["settings"], ["settings", "--json"], ["status"], ["status", "--json"], ["dlq", "list"]):
            ended = service.run(*words)
            outputs[" ".join(words)] = ended.stdout + ended.stderr
        asked = b"".join(gateway.requests).decode()
        log = service.log()

    outputs["log"] = log
    assert {name: places for name, text in outputs.items() if (places := found_in(text))} == {}
    assert all(outputs.values()), "an output that is empty shows nothing"
    assert found_in(asked) == [], "the gateway gets its password encoded, and nothing of a client's"
    assert asked.lower().count(f"traceparent: {TRACE}\r\n") >= len(payments)
    assert {"payment_declined", "payment_in_doubt", "writer_interrupted", "request"} <= events_in(log)


def send_everything(url: str) -> str:
    """Send each marker that a client can send; all answers."""
    got: list[httpx.Response] = []
    with httpx.Client(base_url=url, headers=SECRET_FIELDS, trust_env=False) as client:
        got += [client.post(f"/api/v1{path}", content=body) for path, body in BODIES]
        got += [client.get(address) for address in ADDRESSES]
        odd = {"Content-Type": f"text/{canary('header-content-type')}"}
        got.append(client.post("/api/v1/users", content=b"{}", headers=odd))
        got.append(client.post("/api/v1/users", content=b"{}", headers={"Content-Encoding": canary("header-coding")}))
    assert {answer.status_code for answer in got} <= {200, 400, 404, 405, 415, 422}
    return "\n".join(f"{answer.headers} {answer.text}" for answer in got)


def pay(client: Client) -> list[int]:
    """Make payments that the gateway answers in each of its ways, and wait until the first two have ended."""
    client.post("/users", {"balance": 1000})
    fields = SECRET_FIELDS | {"traceparent": TRACE}
    made = [
        client.http.post("/payments/deposit", json={"user_id": 1, "deposit": 1}, headers=fields).json()["payment_id"]
        for _ in range(4)
    ]
    client.settled(made[:2])
    return made


def while_it_cannot_write(client: Client, database: Database) -> None:
    """Send a payment while the database refuses it, so that the lines about that are in the log, too."""
    role = database.service_role
    execute(database, f"REVOKE INSERT ON events FROM {role}", owner=True)
    refused = client.http.post(
        "/payments/deposit", json={"user_id": 1, "deposit": 1}, headers=SECRET_FIELDS | {"X-Request-ID": "put-off"}
    )
    execute(database, f"GRANT INSERT ON events TO {role}", owner=True)
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert found_in(refused.text) == []


def stored(database: Database) -> str:
    """Return the stored events as text."""
    rows: list[tuple[Any, ...]] = execute(database, "SELECT convert_from(state, 'UTF8') FROM events", owner=True)
    return str(rows)


def test_a_start_that_is_refused_has_a_line_without_the_password(tmp_path: Path) -> None:
    """The line is JSON like all others, and names the cause."""
    url = f"postgresql://ledger:{canary('setting-database')}@127.0.0.1:1/ledger?sslpassword={canary('setting-ssl')}"
    service = Service(tmp_path, DATABASE_URL=url, LEDGER_SCHEMA="Not A Schema")

    ended = service.run("worker")

    assert ended.returncode != 0
    assert '"event":"start_refused"' in ended.stderr
    assert found_in(ended.stdout + ended.stderr) == []
