"""Everything that can go wrong, at once and for minutes: `make chaos ARGS="--minutes 10 --seed 1"`.

Two APIs, two workers, two projectors and a gateway that lies run on a Postgres of their own, while clients pay and an
operator decides about dead letters. Processes die at every fail point and at random, are frozen and thawed; Postgres is
killed; connections are lost around their COMMIT. At the end everything is healed, and what clients were told, what the
ledger holds and what the gateway did are held against each other. A table says what happened; the exit code is 0 when
nothing differs. The seed gives the order of faults and the gateway's behaviour; the moments are the machine's.
"""

import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, get_args
from urllib.parse import quote

import click
import httpx
import psycopg
from psycopg.conninfo import conninfo_to_dict
from rich.console import Console
from rich.table import Table

from api.embedded_postgres import EmbeddedPostgres
from ledger.fail_points import FailPoint
from tests.books import differences
from tests.chaos.fleet import Fleet, Member, places_of
from tests.chaos.payer import Payer, open_users
from tests.ledger.postgres_proxy import Cut, PostgresProxy, proxy_before
from tests.services import Client

USERS = 40
CLIENTS = 6
POSTGRES_CRASHES_A_MINUTE = 2.4
FAULT_SECONDS = (0.2, 1.2)
FREEZE_SECONDS = (0.5, 7.0)
LETTER_SECONDS_MIN = 10.0
QUIET_SECONDS_MAX = 300.0
REACHED_MAX = 60
"""A part dies at its fail point at the latest when it gets there for so many times."""

SETTINGS = {
    "GATEWAY_TIMEOUT_SECONDS": "0.5",
    "GATEWAY_SETTLE_SECONDS": "1",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "3",
    "WORKER_POLL_INTERVAL_SECONDS": "0.2",
}


class Campaign:
    """One run: the processes, what was done to them, and what became of it."""

    def __init__(self, fleet: Fleet, postgres: EmbeddedPostgres, proxies: Sequence[PostgresProxy], seed: int) -> None:
        self.faults: Counter[str] = Counter()
        self.decided: Counter[str] = Counter()
        self.fleet = fleet
        self._postgres = postgres
        self.proxies = proxies
        self._dice = random.Random(seed)
        self._places = {
            part: itertools.cycle(_shuffled(places_of(part), self._dice)) for part in ("api", "worker", "projector")
        }
        self._frozen: dict[str, float] = {}
        self._lock = threading.Lock()
        self.calm = threading.Event()

    # --- the parts ---

    def launch(self, member: Member) -> None:
        """Start a part that will die at the next of its fail points."""
        if member.part == "gateway":
            member.start()
        else:
            place = next(self._places[member.part])
            member.start("--at", f"{place}:{self._dice.randint(1, REACHED_MAX)}")

    def keep(self) -> None:
        """Start again what has died, as a supervisor would, until it is calm."""
        while not self.calm.wait(0.1):
            with self._lock:
                for member in self.fleet.members.values():
                    if not member.is_alive():
                        self.launch(member)
            if not self._postgres.is_running():
                self._postgres.ensure_running()

    # --- the faults ---

    def torment(self, minutes: float, progress: Callable[[str], None]) -> None:
        """Do something bad now and then, for so many minutes."""
        began = time.monotonic()
        ends = began + 60 * minutes
        crash_at, tell_at = began + 10, began
        while (now := time.monotonic()) < ends:
            self._thaw(now)
            if now >= crash_at:
                crash_at = now + 60 / POSTGRES_CRASHES_A_MINUTE * self._dice.uniform(0.8, 1.1)
                self._crash_postgres()
            else:
                self._dice.choices([self._kill, self._freeze, self._cut, self._terminate], [5, 1, 4, 1])[0]()
            if now >= tell_at:
                tell_at = now + 15
                died = sum(self.fleet.hits.values())
                progress(f"{(now - began) / 60:.1f} min: {self.faults.total()} faults, {died} deaths at fail points")
            time.sleep(self._dice.uniform(*FAULT_SECONDS))
        self._thaw(float("inf"))

    def _kill(self) -> None:
        with self._lock:
            member = self._dice.choice(list(self.fleet.members.values()))
            if member.is_alive():
                member.kill()
                self.faults[f"{member.part} killed"] += 1

    def _freeze(self) -> None:
        member = self._dice.choice([m for m in self.fleet.members.values() if m.part != "gateway"])
        member.signal(signal.SIGSTOP)
        self._frozen[member.name] = time.monotonic() + self._dice.uniform(*FREEZE_SECONDS)
        self.faults[f"{member.part} frozen"] += 1

    def _thaw(self, now: float) -> None:
        for name, until in list(self._frozen.items()):
            if now >= until:
                del self._frozen[name]
                self.fleet.members[name].signal(signal.SIGCONT)

    def _cut(self) -> None:
        proxy = self._dice.choice(self.proxies)
        before = proxy.cuts
        kind: Cut = self._dice.choice(get_args(Cut))
        proxy.cut = kind
        deadline = time.monotonic() + 1
        while proxy.cuts == before and time.monotonic() < deadline:
            time.sleep(0.01)
        self.faults[f"connection lost, {kind.replace('_', ' ')}"] += proxy.cuts - before

    def _terminate(self) -> None:
        with (
            suppress(psycopg.Error),
            psycopg.connect(self.fleet.environment["DATABASE_URL"], autocommit=True) as connection,
        ):
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'payment-ledger %' ORDER BY random() LIMIT 1"
            ).fetchall()
            self.faults["session ended by Postgres"] += len(ended)

    def _crash_postgres(self) -> None:
        """Kill the server, or one of its backends, upon which it starts all over."""
        victims = {
            "postmaster": _postmaster(self.fleet.directory),
            "backend": _backend(self.fleet.environment["DATABASE_URL"]),
        }
        kind = self._dice.choice(list(victims))
        if (number := victims[kind]) is not None:
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
                self.faults[f"Postgres crashed, its {kind} killed"] += 1

    # --- the operator ---

    def operate(self, seed: int) -> None:
        """Decide about dead letters, as far as the gateway's own book tells what became of them."""
        dice = random.Random(f"operator-{seed}")
        seen: dict[int, float] = {}
        while not self.calm.wait(1.0):
            with (
                suppress(httpx.HTTPError, AssertionError, ValueError),
                Client(dice.choice(self.fleet.apis()).url) as client,
            ):
                for letter in client.get("/dlq", limit=100):
                    # Patience, like that of a real one: who is frozen now may still have something to tell.
                    old = time.monotonic() - seen.setdefault(letter["id"], time.monotonic()) > LETTER_SECONDS_MIN
                    if old and dice.random() < 0.1:
                        self._decide(client, letter)

    def _decide(self, client: Client, letter: Any) -> None:
        payment_id, state = letter["payment_id"], letter["state"]
        words = {"why": "what the gateway's book says", "by": "operator"}
        if state == "failed":
            answer = client.post(f"/dlq/{payment_id}/requeue", words)
        else:
            answer = client.post(
                f"/dlq/{payment_id}/resolve", {"outcome": _outcome_in_the_book(client, payment_id, state), **words}
            )
        self.decided[f"{state}: {answer.status_code}"] += 1

    # --- the end ---

    def heal(self) -> None:
        """Stop tormenting, and start everything anew as it is delivered."""
        self.calm.set()
        self._thaw(float("inf"))
        self.fleet.kill()
        for proxy in self.proxies:
            proxy.cut = None
        self._postgres.ensure_running()
        for member in self.fleet.members.values():
            member.start()
        for api in self.fleet.apis():
            api.wait_until_ready()

    def rest(self) -> None:
        """Stop the workers: what is read from here on is all of one moment, and no doubt is resolved in between."""
        for member in self.fleet.members.values():
            if member.part == "worker":
                member.stop()

    def wait_until_quiet(self, client: Client) -> None:
        """Wait until every payment has ended or is in doubt, and read models have caught up."""
        deadline = time.monotonic() + QUIET_SECONDS_MAX
        while True:
            under_way = {
                p["payment_id"]
                for status in ("new", "processing")
                for p in client.pages("/payments", status=status, limit=500)
            }
            in_doubt = {letter["payment_id"] for letter in _all_letters(client) if letter["state"] == "in_doubt"}
            if under_way <= in_doubt:
                return
            assert time.monotonic() < deadline, f"still under way: {sorted(under_way - in_doubt)[:20]}"
            time.sleep(0.5)


def _shuffled(places: list[FailPoint], dice: random.Random) -> list[FailPoint]:
    return dice.sample(places, len(places))


def _postmaster(directory: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int((directory / "var/postgres/cluster/postmaster.pid").read_text().split("\n")[0])
    return None


def _as_url(conninfo: str) -> str:
    given = conninfo_to_dict(conninfo)
    return f"postgresql://{given['user']}@/{given['dbname']}?host={quote(str(given['host']), safe='')}"


def _backend(url: str) -> int | None:
    with suppress(psycopg.Error), psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'payment-ledger %' ORDER BY random() LIMIT 1"
        ).fetchone()
        return None if row is None else int(row[0])
    return None


def _outcome_in_the_book(client: Client, payment_id: int, state: str) -> str:
    """What became of a payment in doubt; a contradiction is what it says."""
    if state == "reconcile":
        return "success"
    events = client.get(f"/payments/{payment_id}/events")["items"]
    key = next(event["data"]["gateway_key"] for event in reversed(events) if "gateway_key" in event["data"])
    effects = client.pages("/mock-gateway/effects", cursor="after", following="next_after", limit=1000)
    return "success" if any(effect["key"] == key for effect in effects) else "failed"


def _all_letters(client: Client) -> Iterator[Any]:
    offset = 0
    while page := client.get("/dlq", limit=500, offset=offset):
        yield from page
        offset += len(page)


def _verified(
    campaign: Campaign, openings: dict[int, Decimal], payers: Sequence[Payer]
) -> tuple[list[str], dict[str, Any]]:
    """Hold everything against everything; what differs, and the figures of the summary."""
    answered = [answer for payer in payers for answer in payer.answered]
    with Client(campaign.fleet.apis()[0].url) as client:
        campaign.wait_until_quiet(client)
        campaign.rest()
        campaign.wait_until_quiet(client)
        found = differences(client, openings, [answer.payment_id for answer in answered])
        for answer in answered:
            again = client.post(answer.path, answer.body, key=answer.key)
            if (again.status_code, again.content) != (answer.status, answer.content):
                found.append(f"{answer.key} was answered {answer.content!r} and is now {again.content!r}")
        letters = Counter(letter["state"] for letter in _all_letters(client))
        effects = client.pages("/mock-gateway/effects", cursor="after", following="next_after", limit=1000)
        metrics = client.get("/metrics")
    for words in (("audit", "verify"), ("rebuild", "--check-only")):
        proof = campaign.fleet.run(*words, "--json")
        if proof.returncode != 0:
            found.append(f"{' '.join(words)} says {proof.stdout[-2000:]} {proof.stderr[-2000:]}")
    if missed := set(get_args(FailPoint)) - campaign.fleet.hits.keys():
        found.append(f"nobody died at {sorted(missed)}")
    return found, {
        "payments acknowledged": len(answered),
        "requests sent again": sum(payer.sent_again for payer in payers),
        "gateway calls recorded": metrics["payments_processing_started_total"],
        "payments succeeded": metrics["payments_success_total"],
        "effects in the gateway's book": len(effects),
        **{f"letters {state}": count for state, count in sorted(letters.items())},
        **{f"operator, {what}": count for what, count in sorted(campaign.decided.items())},
    }


def _print(
    campaign: Campaign,
    figures: dict[str, Any],
    behaviours: dict[str, int],
    found: Sequence[str],
    *,
    seed: int,
    minutes: float,
) -> None:
    table = Table(title=f"Chaos, seed {seed}, {minutes:g} minutes")
    table.add_column("what")
    table.add_column("how often", justify="right")
    for title, rows in (
        ("faults", campaign.faults),
        ("died at", campaign.fleet.hits),
        ("the gateway's answers", behaviours),
        ("what became of it", figures),
    ):
        table.add_section()
        table.add_row(title, "", style="bold")
        for name, count in sorted(rows.items()) if rows is not figures else rows.items():
            table.add_row(f"  {name}", str(count))
    table.add_section()
    table.add_row("differences", str(len(found)), style="bold green" if not found else "bold red")
    console = Console(width=100)
    console.print(table)
    for difference in found[:50]:
        console.print(difference, style="red")


@click.command()
@click.option("--minutes", type=float, default=10.0, show_default=True)
@click.option("--seed", type=int, default=None, help="Chosen and printed when left out.")
@click.option("--keep", is_flag=True, help="Leave the directory with the database and the logs behind.")
def main(minutes: float, seed: int | None, *, keep: bool) -> None:
    """Torment a service for some minutes, and hold its books against everything that was told."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    directory = Path(tempfile.mkdtemp(prefix="chaos-"))
    click.echo(f"seed {seed}, in {directory}", err=True)
    with ExitStack() as stack:
        postgres = EmbeddedPostgres(directory / "var", create=True)
        url = stack.enter_context(postgres)
        proxies = [stack.enter_context(proxy_before(url)) for _ in range(2)]
        fleet = Fleet(directory, url, **SETTINGS, DEMO_GATEWAY_CHAOS_SEED=str(seed))
        stack.callback(fleet.kill)
        campaign = Campaign(fleet, postgres, proxies, seed)
        found, figures, behaviours = _run(campaign, minutes, seed)
        _print(campaign, figures, behaviours, found, seed=seed, minutes=minutes)
        fleet.stop()
    if found or keep:
        click.echo(f"what happened lies in {directory}", err=True)
    else:
        shutil.rmtree(directory)
    sys.exit(1 if found else 0)


def _run(campaign: Campaign, minutes: float, seed: int) -> tuple[list[str], dict[str, Any], dict[str, int]]:
    fleet, proxied = campaign.fleet, [_as_url(proxy.url) for proxy in campaign.proxies]
    fleet.add("gateway", "gateway")
    for part in ("api", "worker", "projector"):
        fleet.add(f"{part}-1", part)
        fleet.add(f"{part}-2", part, **({"DATABASE_URL": proxied[part == "worker"]} if part != "projector" else {}))
    for member in fleet.members.values():
        member.start()
    for api in fleet.apis():
        api.wait_until_ready()
    with Client(fleet.apis()[0].url) as client:
        openings = open_users(client, USERS)
    payers = [
        Payer(f"payer-{n}", [api.url for api in fleet.apis()], list(openings), seed=seed, pause_seconds=0.02)
        for n in range(CLIENTS)
    ]
    others = [
        threading.Thread(target=campaign.keep, daemon=True),
        threading.Thread(target=campaign.operate, args=(seed,), daemon=True),
    ]
    for thread in (*payers, *others):
        thread.start()
    for member in fleet.members.values():
        if member.part != "gateway":
            member.kill()  # and so they come back armed
    campaign.torment(minutes, lambda line: click.echo(line, err=True))
    campaign.heal()
    for thread in others:
        thread.join()
    for payer in payers:
        payer.finish()
    found, figures = _verified(campaign, openings, payers)
    gateway = f"http://127.0.0.1:{fleet.environment['DEMO_GATEWAY_PORT']}"
    behaviours: dict[str, int] = httpx.get(f"{gateway}/behaviours", trust_env=False).json()
    return found, figures, behaviours


if __name__ == "__main__":
    main()
