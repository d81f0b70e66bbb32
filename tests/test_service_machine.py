"""The whole service against the model: random requests over HTTP, a gateway that is steered, parts that are killed.

One service serves all stories, each with users of its own. Its worker and projector run on their own, so what is asked
for is chosen such that the answer does not depend on how far they are. When all is quiet, everything that clients can
read is held against the model, and the gateway's book as well.
"""

import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any, ClassVar, Final

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from tests.model import Model, Refused
from tests.model_books import Payment
from tests.model_process import follow, hear, hear_of
from tests.service_and_model import Reader, compare_effects, decimal, number, wait_until
from tests.services import Client, Service, serving
from tests.steered_gateway import Inquiring, Script, SteeredGateway, Step

FEE_PPM: Final = 20_000
BATCH_MOST: Final = 12

STEADY: Final = {
    # Nothing times out in these stories but the lease of a call whose worker was killed.
    "GATEWAY_TIMEOUT_SECONDS": "5",
    "WORKER_PROCESSING_TIMEOUT_SECONDS": "6",
    "GATEWAY_BACKOFF_BASE_SECONDS": "0.01",
    "GATEWAY_BACKOFF_MAX_SECONDS": "0.02",
    "GATEWAY_BACKOFF_JITTER_SECONDS": "0.01",
    "GATEWAY_SETTLE_SECONDS": "0.02",
}

FAULTS: Final = [
    Step("429"),
    Step("502"),
    Step("502", moves=True),
    Step("garbage", moves=True),
    Step("reset"),
    Step("pending"),
]
ENDINGS: Final = [
    Step("ok"),
    Step("ok"),
    Step("ok"),
    Step("declined"),
    Step("402"),
    Step("reset", moves=True),
    Step("429"),
]
INQUIRIES: Final[list[Inquiring]] = ["truth", "truth", "truth", "pending", "500", "404"]
STATUSES: Final = {"user_not_found": 404, "payment_not_found": 404, "not_requeueable": 409, "not_resolvable": 409}
"""The statuses of refusals; all others are 422."""

ENDS: Final = {"payment.succeeded", "payment.failed"}
NOBODY: Final = 10**12

SEEDS: Final = st.integers(0, 2**24 - 1)


class ServiceMachine(RuleBasedStateMachine):
    """The clients, the operator and the gateway of one service, and the model of what they have to see.

    One who is patient waits for what takes seconds: later inquiries about payments in doubt. Stories that did not fit
    are kept in `failures`: a service that is wrong need not be wrong in the same way when a story is told again.
    """

    is_patient: ClassVar[bool]
    failures: ClassVar[list[str]]

    def __init__(self, service: Service, client: Client, gateway: SteeredGateway) -> None:
        super().__init__()
        self.story: list[str] = []
        self.service = service
        self.client = client
        self.gateway = gateway
        self.sent: list[dict[str, Any]] = []
        self.first_answers: dict[int, bytes] = {}
        self.replays: int | None = 0
        self.disturbed: set[int] = set()
        self.unsure: set[int] = set()
        self.killed = False
        self.fits = False

    @initialize(currency=st.sampled_from(["USD", "KWD", "JPY"]))
    def begin(self, currency: str) -> None:
        """Take note of where the service stands, and open two users."""
        newest = self.client.get("/payments", limit=1)["items"]
        payments_before = (newest[0]["payment_id"] - 1) // 1024 + 1 if newest else 0
        users_before = self._open("USD", 0)
        self.reader = Reader(self.client)
        self.model = Model(users_before=users_before, payments_before=payments_before)
        for money, opening in [("USD", 1000), (currency, 300)]:
            assert self._open(money, opening) == self.model.open(Decimal(opening), money)["account_id"]
        self.fits = True

    def _open(self, currency: str, opening: int) -> int:
        answer = self.client.post("/users/", {"balance": opening, "currency": currency})
        assert answer.status_code == httpx.codes.CREATED, answer.text
        user = answer.json()
        assert (user["balance"], user["available"], user["held"], user["currency"]) == (opening, opening, 0, currency)
        user_id: int = user["id"]
        return user_id

    def teardown(self) -> None:
        """Bring everything to an end, so that the next story begins with nothing under way."""
        try:
            if self.fits:
                self.settle()
                self._resolve_all()
                self.settle()
        finally:
            if not self.fits:
                self.failures.append("\n".join([*self.story, traceback.format_exc()]))
                with suppress(AssertionError):
                    self._clear_away()

    def _tell(self, what: str) -> None:
        note(what)
        self.story.append(what)

    # --- what clients ask for ---

    @rule(seed=SEEDS)
    def request(self, seed: int) -> None:
        """Ask for a payment, mostly under a key."""
        dice = Random(seed)
        self._ask(self._wish(dice, key=f"{seed}"), dice)

    @precondition(lambda self: bool(self.sent))
    @rule(seed=SEEDS)
    def ask_again(self, seed: int) -> None:
        """Send again what was sent before, as it was or altered: for less, or for the opposite."""
        dice = Random(seed)
        wish = dice.choice(self.sent)
        other = {"deposit": "withdraw", "withdraw": "deposit"}[wish["type"]]
        self._ask(dice.choice([wish, wish, wish | {"amount": "1"}, wish | {"type": other}]), dice)

    @rule(seed=SEEDS, count=st.integers(1, BATCH_MOST))
    def request_many(self, seed: int, count: int) -> None:
        """Ask for several payments in one request; each is taken or refused by itself."""
        self._ask_for_many(Random(seed), count, key=f"many-{seed}")

    def _ask_for_many(self, dice: Random, count: int, *, key: str) -> None:
        wishes, answers = [], []
        for place in range(count):
            again = bool(self.sent) and dice.choice([True, False, False, False])
            wishes.append(dice.choice(self.sent) if again else self._wish(dice, key=f"{key}-{place}"))
            answers.append(self._expected(wishes[-1], dice))
        answer = self.client.post("/payments/batch", {"payments": wishes})
        self._tell(f"{wishes} -> {answer.text}")
        assert answer.status_code == httpx.codes.OK
        for expected, result in zip(answers, answer.json()["results"], strict=True):
            self._compare(expected, result)

    def _wish(self, dice: Random, *, key: str) -> dict[str, Any]:
        """What to ask for, such that the answer does not depend on what is still under way."""
        user_id = dice.choice([*self.model.users] * 4 + [NOBODY])
        kind, minor = dice.choice(["deposit", "withdraw"]), dice.choice([dice.randint(1, 5_000), 25, 75, 1225])
        currency = self.model.users[user_id].currency if user_id != NOBODY else "USD"
        if user_id != NOBODY and kind == "withdraw":
            available, most = self.model.available(user_id), available_most(self.model, user_id)
            affordable = [some for some in (minor, available // 2, 1) if some + fee_of(some) <= available]
            minor = dice.choice([*affordable, *affordable, most + 1])
        amount = dice.choice([decimal(minor, currency)] * 15 + [Decimal(0), Decimal("0.00001")])
        wish = {"type": kind, "user_id": user_id, "amount": f"{amount:f}"}
        return dice.choice([wish, *[wish | {"idempotency_key": key}] * 3])

    def _ask(self, wish: dict[str, Any], dice: Random) -> None:
        expected = self._expected(wish, dice)
        field = "deposit" if wish["type"] == "deposit" else "amount"
        body = {"user_id": wish["user_id"], field: wish["amount"]}
        answer = self.client.post(f"/payments/{wish['type']}", body, key=wish.get("idempotency_key"))
        self._tell(f"{wish} -> {answer.status_code} {answer.text}")
        document = answer.json()
        self._compare(expected, document)
        what, facts = expected
        taken = what == "answer" and not facts["refused"]
        assert answer.status_code == (202 if taken else STATUSES.get(document["code"], 422))
        if what == "answer":
            assert self.first_answers.setdefault(facts["payment_id"], answer.content) == answer.content
            assert ("Idempotent-Replayed" in answer.headers) == facts["replayed"]

    def _expected(self, wish: dict[str, Any], dice: Random) -> tuple[str, Any]:
        """Tell the gateway what it will do with a payment, and ask the model what is answered to the request for it."""
        self.fits = False
        kind, user_id, key = wish["type"], wish["user_id"], wish.get("idempotency_key")
        self.gateway.expect(f"payment-{self.model.next_payment_id(user_id)}", a_script(dice))
        try:
            answer = self.model.request(kind, user_id, Decimal(wish["amount"]), rate_ppm=FEE_PPM, key=key)
        except Refused as refused:
            return "refused", refused.code
        if key is not None and not answer["replayed"]:
            self.sent.append(wish)
        if answer["replayed"] and self.replays is not None:
            self.replays += 1
        return "answer", answer

    def _compare(self, expected: tuple[str, Any], document: dict[str, Any]) -> None:
        what, facts = expected
        if what == "refused":
            assert document["code"] == facts
        elif facts["refused"]:
            assert (document["code"], document["payment_id"]) == ("insufficient_funds", facts["payment_id"])
            assert document["detail"].endswith(f"payment_id={facts['payment_id']}")
        else:
            currency = facts["currency"]
            amount, fee = decimal(facts["amount_minor"], currency), decimal(facts["fee_minor"], currency)
            assert document["status"] == "processing"
            assert (document["payment_id"], document["user_id"]) == (facts["payment_id"], facts["account_id"])
            assert (document["type"], document["currency"]) == (facts["kind"], currency)
            assert (number(document["amount"]), number(document["commission"])) == (amount, fee)
        self.fits = True

    # --- what the operator decides ---

    @precondition(lambda self: bool(self.model.payments))
    @rule(seed=SEEDS)
    def requeue(self, seed: int) -> None:
        """Send a payment to the gateway again, mostly one that may be; wait for those under way if none has failed."""
        dice = Random(seed)
        if not any(payment.letter == "failed" for payment in self._at_rest()):
            self.settle()
        payment = self._pick(dice, "failed")
        if payment.letter == "failed" and self._is_open(payment):
            return
        self.gateway.expect(f"payment-{payment.payment_id}-{payment.series + 1}", a_script(dice))
        self._decide(f"/dlq/{payment.payment_id}/requeue", {}, lambda: self.model.requeue(payment.payment_id))

    @precondition(lambda self: bool(self._at_rest()))
    @rule(seed=SEEDS, outcome=st.sampled_from(["success", "failed"]))
    def resolve(self, seed: int, outcome: str) -> None:
        """Close a dead letter, mostly one in doubt."""
        dice = Random(seed)
        payment = self._pick(dice, dice.choice(["in_doubt", "reconcile"]))
        if payment.letter == "reconcile" and outcome == "success" and self._is_open(payment):
            return
        self._resolve(payment, outcome)

    def _resolve(self, payment: Payment, outcome: str) -> None:
        if payment.letter == "in_doubt":
            self.unsure.add(payment.payment_id)
        path = f"/dlq/{payment.payment_id}/resolve"
        self._decide(path, {"outcome": outcome}, lambda: self.model.resolve(payment.payment_id, outcome))

    def _decide(self, path: str, body: dict[str, Any], ask: Callable[[], dict[str, Any]]) -> None:
        self.fits = False
        answer = self.client.post(path, body | {"why": "the bank says so", "by": "Ada Lovelace"})
        self._tell(f"{path} {body} -> {answer.status_code} {answer.text}")
        try:
            standing = ask()
            status, wanted = 202, {name: standing[name] for name in ("payment_id", "state")}
        except Refused as refused:
            status, wanted = STATUSES.get(refused.code, 422), {"code": refused.code}
        document = answer.json()
        assert (answer.status_code, {name: document[name] for name in wanted}) == (status, wanted)
        self.fits = True

    @precondition(lambda self: self.is_patient)
    @rule()
    def let_it_be_known(self) -> None:
        """Have the gateway say at last what became of a payment in doubt, and wait until it is asked again."""
        if not (in_doubt := self._in_doubt()):
            return
        self.fits = False
        payment = in_doubt[-1]
        self.gateway.expect(payment.gateway_key, Script())
        wait_until(lambda: self.reader.events(payment.payment_id)[-1]["topic"] in ENDS)
        hear(self.model, payment.payment_id, self.gateway.said(payment.gateway_key)[-1:])
        self.fits = True

    @precondition(lambda self: self.is_patient)
    @rule()
    def learn_too_late(self) -> None:
        """Give up a payment in doubt while the gateway is about to say what became of it."""
        if not (in_doubt := self._in_doubt()):
            return
        payment = in_doubt[-1]
        with self.gateway.hold(payment.gateway_key):
            wait_until(self.gateway.holding.is_set)
            self._resolve(payment, "failed")
        self.fits = False
        hear_of(self.model, payment.payment_id, self.gateway.said(payment.gateway_key)[-1][1])
        if payment.contradictions:
            wait_until(lambda: self.reader.events(payment.payment_id)[-1]["topic"] == "payment.contradicted")
        self.fits = True

    def _in_doubt(self) -> list[Payment]:
        """Those in doubt, the newest last: it is asked about again the soonest."""
        in_doubt = [each for each in self.model.payments.values() if each.state == "in_doubt"]
        return sorted(in_doubt, key=lambda payment: payment.letter_position)

    def _at_rest(self) -> list[Payment]:
        """The payments whose state does not change by itself."""
        return [each for each in self.model.payments.values() if not each.under_way or each.state == "in_doubt"]

    def _is_open(self, payment: Payment) -> bool:
        """Whether it depends on what is under way if a payment would be covered now."""
        least, most = self.model.available(payment.user_id), available_most(self.model, payment.user_id)
        return payment.kind == "withdraw" and least < payment.total <= most

    def _pick(self, dice: Random, letter: str) -> Payment:
        wanted = [each for each in self._at_rest() if each.letter == letter]
        return dice.choice(dice.choice([wanted, wanted, wanted, self._at_rest()]) or self._at_rest())

    # --- what happens to the machinery ---

    @precondition(lambda self: not self.killed)
    @rule(part=st.sampled_from(["worker", "worker", "projector", "api"]), seed=SEEDS)
    def kill(self, part: str, seed: int) -> None:
        """End a part of the service at once when it has just been given much to do; it is started again."""
        self.killed = True
        self._ask_for_many(Random(seed), BATCH_MOST, key=f"kill-{seed}")
        if part == "worker":
            # Nobody knows which of the calls under way were made.
            self.disturbed |= {each.payment_id for each in self.model.payments.values() if each.under_way}
        if part == "api":
            self.replays = None
        for process in processes_of(self.service, part):
            process.kill()
            process.wait()
        wait_until(lambda: bool(processes_of(self.service, part)) and self.service.is_ready())
        with suppress(httpx.TransportError):
            self.client.get("/metrics")  # the connection that was kept is gone

    # --- what holds when all is quiet ---

    @rule()
    def settle(self) -> None:
        """Wait for the gateway and the read models, and compare all that there is to be read."""
        self.fits = False
        for payment in self.model.payments.values():
            if payment.under_way and payment.state != "in_doubt":
                self._learn(payment)
        self.reader.wait_for_the_read_models()
        self.reader.compare(self.model, replays=self.replays)
        compare_effects(self.model, self.gateway, self.unsure)
        self.fits = True

    def _learn(self, payment: Payment) -> None:
        """Have the model hear what the gateway has said; or what was recorded, if not all of it was heard in time."""
        events = self.reader.wait_for_the_gateway(payment.payment_id)
        news = events[self.model.version(f"payment-{payment.payment_id}") :]
        timed_out = any(each["data"].get("error") == "timeout" for each in news)
        if timed_out or payment.payment_id in self.disturbed:
            follow(self.model, payment.payment_id, news)
        else:
            hear(self.model, payment.payment_id, self.gateway.said(payment.gateway_key))
        assert not payment.under_way or payment.state == "in_doubt"

    def _resolve_all(self) -> None:
        for payment in self._in_doubt():
            self._resolve(payment, "failed")

    def _clear_away(self) -> None:
        """Leave nothing under way that could be taken for the next story's."""

        def nothing_moves() -> bool:
            for letter in self.client.get("/dlq", limit=500):
                if letter["state"] == "in_doubt":
                    body = {"outcome": "failed", "why": "the story is over", "by": "Ada Lovelace"}
                    self.client.post(f"/dlq/{letter['payment_id']}/resolve", body)
            waiting: int = self.client.get("/health")["gateway_queue"]["waiting"]
            return waiting == 0

        wait_until(nothing_moves)
        self.reader.wait_for_the_read_models()


def available_most(model: Model, user_id: int) -> int:
    """What would be available if all deposits under way came in and all withdrawals failed."""
    return model.balance(user_id) + model.pending(user_id)


def fee_of(minor: int) -> int:
    """Two percent, rounded half up."""
    return (2 * minor + 50) // 100


def a_script(dice: Random) -> Script:
    """What a gateway may do with a payment: a few faults, and then an ending that is said again and again."""
    faults = [dice.choice(FAULTS) for _ in range(dice.choice([0, 0, 1, 1, 2, 3]))]
    return Script(steps=[*faults, dice.choice(ENDINGS)], inquiry=dice.choice(INQUIRIES))


def processes_of(service: Service, part: str) -> list[psutil.Process]:
    """The processes of a part that are alive."""
    found = []
    for process in service.family():
        with suppress(psutil.Error):
            if part in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def gateway() -> Iterator[SteeredGateway]:
    """A gateway that does as it is told."""
    with SteeredGateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, gateway: SteeredGateway) -> Iterator[Service]:
    """A whole service that calls that gateway."""
    with serving(tmp_path_factory.mktemp("service"), PAYMENT_GATEWAY_URL=gateway.url, **STEADY) as service:
        yield service


@pytest.mark.timeout(900)
def test_the_service_does_what_the_model_does(service: Service, gateway: SteeredGateway) -> None:
    """A fixed choice of stories, the same in each run; a failing one is shown step by step."""
    fixed = settings(max_examples=10, stateful_step_count=25, derandomize=True, database=None)
    run(service, gateway, fixed, patient=False)


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_service_does_what_the_model_does_for_thousands_of_steps(service: Service, gateway: SteeredGateway) -> None:
    """Other stories in each run; a failing one is shown step by step, and is tried first the next time."""
    run(service, gateway, settings(max_examples=60, stateful_step_count=60, print_blob=True), patient=True)


def run(service: Service, gateway: SteeredGateway, wanted: settings, *, patient: bool) -> None:
    with Client(service.url) as client:

        class Machine(ServiceMachine):
            is_patient = patient
            failures: ClassVar[list[str]] = []

            def __init__(self) -> None:
                super().__init__(service, client, gateway)

        try:
            run_state_machine_as_test(
                Machine, settings=settings(wanted, deadline=None, suppress_health_check=list(HealthCheck))
            )
        except Flaky as flaky:
            raise AssertionError(Machine.failures[0] if Machine.failures else "") from flaky
    proof = service.run("audit", "verify", "--json")
    assert proof.returncode == 0, proof.stdout + proof.stderr
