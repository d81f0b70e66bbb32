"""Operators: they decide about dead letters by the gateway's own book, two at once too, and look after the service.

They come through HTTP and through the command line, at any moment. Each decision alone is right by the book. Of two at
once the ledger takes both in some order, or refuses one. Each decision has an idempotency key, and operators sometimes
send it again.
"""

import json
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import httpx

from tests.chaos.run import Run
from tests.support.services import Client, is_ready

LETTER_SECONDS_MIN: Final = 10.0
"""An operator waits so long before they decide: a process that is frozen now may still report an outcome."""

DECISIONS_SHARE: Final = 0.1
FORCED_SHARE: Final = 0.5
AGAIN_SHARE: Final = 0.2
"""How many decisions are sent again after they were answered."""

LATE_SECONDS: Final = 1.0
"""About what a command takes to start, so that a decision by HTTP meets one by the command line."""

STATUSES: Final = frozenset({202, 409, 422, 503})
"""The answers that a decision may have."""

_REFUSED: Final = (httpx.HTTPError, AssertionError, ValueError, IndexError)
"""The errors of an operator who finds no API, or nothing to decide about, and comes again later."""

_WHY: Final = "what the gateway's book says"
_COMMANDS: Final = (("rebuild", "--json"), ("audit", "verify", "--json"), ("status",), ("dlq", "list"), ("migrate",))


class Operators:
    """The operators of one run; they remember when they first saw each letter."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], float] = {}

    def decide_alone(self, run: Run, seed: int) -> None:
        """Look at the letters every second, and decide about some, until the run is over."""
        dice = random.Random(f"operator-{seed}")
        while not run.over.wait(1.0):
            with suppress(*_REFUSED), _client(run, dice) as client:
                for letter in self._ripe(run, client):
                    if dice.random() < DECISIONS_SHARE:
                        _by_http(run, client, letter["payment_id"], _decision(client, letter, dice))

    def decide_at_once(self, run: Run) -> None:
        """Let two operators decide about the same letter at the same time, each in one of the two ways."""
        dice = random.Random(run.dice.random())

        def decide() -> None:
            with suppress(*_REFUSED), _client(run, dice) as client:
                if not (letters := list(self._ripe(run, client))):
                    return
                letter = dice.choice(letters)
                for way in dice.choice([(_http, _http), (_http, _command), (_command, _command)]):
                    decision = _decision(client, letter, dice)
                    seconds = dice.uniform(0, LATE_SECONDS) if way is _http else 0.0
                    run.beside("an operator", Deciding(run, way, letter["payment_id"], decision, seconds))
                run.faults["two operators at one letter"] += 1

        run.beside("two operators", decide)

    def requeue_anything(self, run: Run) -> None:
        """Requeue a payment in whatever state it is: only a failed one at the gateway may go there again."""
        dice = random.Random(run.dice.random())

        def requeue() -> None:
            with suppress(*_REFUSED), _client(run, dice) as client:
                payments = client.get("/payments", limit=100)["items"]
                _by_http(run, client, dice.choice(payments)["payment_id"], Decision("requeue", key=_new_key(dice)))
                run.faults["any payment requeued"] += 1

        run.beside("an operator", requeue)

    def requeue_many(self, run: Run) -> None:
        """Requeue some failed payments at once, and give the same list again: it does the rest, or nothing."""

        def requeue() -> None:
            planned = run.fleet.run("dlq", "plan", "requeue", "--state", "failed", "--limit", "8", "--json")
            assert "Traceback" not in planned.stderr, planned.stderr[-2000:]
            if planned.returncode != 0:
                return
            digest = json.loads(planned.stdout)["digest"]
            for _ in ("once", "again"):
                done = run.fleet.run("dlq", "run", digest, "--why", _WHY, "--by", "operator", "--json")
                assert "Traceback" not in done.stderr, done.stderr[-2000:]
                run.decided[f"requeue of many: exit code {done.returncode}"] += 1

        run.beside("an operator", requeue)
        run.faults["many letters requeued"] += 1

    def look_after(self, run: Run) -> None:
        """Run a command of the command line beside the service."""
        words, world = run.dice.choice(_COMMANDS), run.world

        def command() -> None:
            began = time.monotonic()
            done = run.fleet.run(*words)
            assert "Traceback" not in done.stderr, done.stderr[-2000:]
            if words[0] == "audit" and done.stdout and run.world == world:
                offsets = [] if run.clock is None else run.clock.offsets_since(began)
                expected = (*HEAD_AHEAD, *_TIMES_AHEAD, *(_EVENTS_AHEAD if min(offsets, default=0) < 0 else ()))
                errors = errors_of_audit(done.stdout, expected=expected)
                assert errors == [], f"{errors[:20]}, while the clock was {offsets} s ahead of the true time"

        run.beside(f"payment-ledger {' '.join(words)}", command)
        run.faults[f"operator ran {' '.join(words[:2]).removesuffix(' --json')}"] += 1

    def _ripe(self, run: Run, client: Client) -> Iterator[Any]:
        """The newest letters that have been there for long enough. After a restore another letter may have the id."""
        world, now = run.world, time.monotonic()
        for letter in client.get("/dlq", limit=100):
            if now - self._seen.setdefault((world, letter["id"]), now) > LETTER_SECONDS_MIN:
                yield letter


class Deciding:
    """One operator's decision, to be carried out beside others."""

    def __init__(self, run: Run, way: Any, payment_id: int, decision: "Decision", seconds: float) -> None:
        self._run, self._way, self._payment_id = run, way, payment_id
        self._decision, self._seconds = decision, seconds

    def __call__(self) -> None:
        time.sleep(self._seconds)
        self._way(self._run, self._payment_id, self._decision)


class Decision(NamedTuple):
    """A decision with the idempotency key of its request; `facts` are the further fields that its action takes."""

    action: Literal["requeue", "resolve", "adjust"]
    key: str
    facts: Mapping[str, str | bool] = MappingProxyType({})


def _client(run: Run, dice: random.Random) -> Client:
    """Return a client of an API that is ready; of the last one when none is."""
    apis = dice.sample(run.fleet.apis(), len(run.fleet.apis()))
    return Client(next((api.url for api in apis if is_ready(api.url)), apis[-1].url))


def _decision(client: Client, letter: Any, dice: random.Random) -> Decision:
    """A decision that the book allows: a failed payment may go again or stay failed; otherwise the book says it."""
    payment_id, key = letter["payment_id"], _new_key(dice)
    match letter["state"]:
        case "failed" if dice.random() < 0.8:
            return Decision("requeue", key)
        case "failed":
            return Decision("resolve", key, {"outcome": "failed", "force": _forced(dice)})
        case "contradicted":
            return _decision_about_contradiction(client, payment_id, key, dice)
        case _:
            outcome = _outcome_in_the_book(client, payment_id)
            return Decision("resolve", key, {"outcome": outcome, "force": _forced(dice)})


def _decision_about_contradiction(client: Client, payment_id: int, key: str, dice: random.Random) -> Decision:
    """Settle a failed payment with one of the movements of its money, and book the others; or book them all."""
    named = dice.choice(_open_contradictions(client.get(f"/payments/{payment_id}/events")["items"]))
    settles = client.get(f"/payments/{payment_id}")["status"] == "failed" and dice.random() < 0.7
    if settles:
        return Decision("resolve", key, {"outcome": "success", "gateway_key": named, "force": _forced(dice)})
    return Decision("adjust", key, {"against": "suspense", "gateway_key": named})


def _open_contradictions(events: Sequence[Any]) -> list[str]:
    """The gateway keys of a payment's contradictions that no operator has dealt with."""
    still_open: list[str] = []
    for event in events:
        gateway_key = event["data"].get("gateway_key", "")
        if event["topic"] == "payment.contradicted":
            still_open.append(gateway_key)
        elif event["topic"] in {"payment.resolved", "payment.adjusted"} and gateway_key in still_open:
            still_open.remove(gateway_key)
    return still_open


def _forced(dice: random.Random) -> bool:
    """Whether an operator goes against the gateway, which may say another thing than its book."""
    return dice.random() < FORCED_SHARE


def _new_key(dice: random.Random) -> str:
    return f"decision-{dice.getrandbits(64):x}"


def _outcome_in_the_book(client: Client, payment_id: int) -> str:
    """The outcome of a payment in doubt by the gateway's book."""
    events = client.get(f"/payments/{payment_id}/events")["items"]
    key = next(event["data"]["gateway_key"] for event in reversed(events) if "gateway_key" in event["data"])
    effects = client.pages("/mock-gateway/effects", cursor="after", following="next_after", limit=1000)
    return "success" if any(effect["key"] == key for effect in effects) else "failed"


def _http(run: Run, payment_id: int, decision: Decision) -> None:
    with suppress(*_REFUSED), _client(run, random.Random(payment_id)) as client:
        _by_http(run, client, payment_id, decision)


def _by_http(run: Run, client: Client, payment_id: int, decision: Decision) -> None:
    """Send a decision, and sometimes send it again: an accepted one is accepted again, unless a restore has lost it."""
    world, first = run.world, _send(run, client, payment_id, decision)
    if random.Random(decision.key).random() < AGAIN_SHARE:
        again = _send(run, client, payment_id, decision)
        if first == httpx.codes.ACCEPTED and again not in {first, 503} and run.world == world:
            what = f"{decision.action} of payment {payment_id}"
            run.found.append(f"{what} was answered {first}, and {again} when it was sent again")


def _send(run: Run, client: Client, payment_id: int, decision: Decision) -> int:
    body = {"why": _WHY, "by": "operator", **decision.facts}
    status = client.post(f"/dlq/{payment_id}/{decision.action}", body, key=decision.key).status_code
    if status not in STATUSES:
        run.found.append(f"{decision.action} of payment {payment_id} was answered {status}")
    run.decided[f"{decision.action} by HTTP: {status}"] += 1
    return status


def _command(run: Run, payment_id: int, decision: Decision) -> None:
    facts = {"why": _WHY, "by": "operator", "idempotency_key": decision.key, **decision.facts}
    options = {f"--{name.replace('_', '-')}": value for name, value in facts.items() if value is not False}
    words = [word for name, value in options.items() for word in ([name] if value is True else [name, str(value)])]
    done = run.fleet.run("dlq", decision.action, str(payment_id), *words)
    assert "Traceback" not in done.stderr, done.stderr[-2000:]
    run.decided[f"{decision.action} by the command line: exit code {done.returncode}"] += 1


HEAD_AHEAD: Final = ("the head's time is",)
"""The error that an audit names after the clock was ahead and was set back, until the clock has reached that time."""

_TIMES_AHEAD: Final = ("due_at of", "leased_until of", "the heartbeat of", "the leadership of")
"""The errors that it may name until the service has mended the times that were noted while the clock was ahead."""

_EVENTS_AHEAD: Final = ("the event's time is",)
"""The error that it may name while the clock is behind the true time.

Events whose clock was a day ahead are then more than a day ahead, which is what an audit allows.
"""


def errors_of_audit(stdout: str, *, expected: tuple[str, ...]) -> list[str]:
    """List the errors that `audit verify --json` has found, except those that begin with an expected text."""
    found = (str(error["what"]) for error in json.loads(stdout)["errors"])
    return [what for what in found if not what.startswith(expected)]


def all_letters(client: Client) -> Iterator[Any]:
    """All dead letters, newest first."""
    offset = 0
    while page := client.get("/dlq", limit=500, offset=offset):
        yield from page
        offset += len(page)
