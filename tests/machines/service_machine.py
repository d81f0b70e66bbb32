"""A state machine over one service: its clients, its operator and its gateway, compared with the model.

Each example opens users of its own. The worker and the projector run by themselves, so an example sends only requests
whose answers do not depend on their progress. When the service is quiet, every resource that clients can read is
compared with the model, and the gateway's book is compared too.
"""

import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Any, ClassVar, Final

import httpx
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.machines.gateway_scripts import a_script
from tests.machines.service_and_model import ENDS, QUIET, Reader, compare_effects, decimal, number
from tests.model.ledger import Model, Refused
from tests.model.process import report_answers, report_inquiry, report_late_answers, report_recorded
from tests.model.state import Payment
from tests.support.gateways.steered import Script, SteeredGateway
from tests.support.services import Client, Service
from tests.support.waiting import wait_until

FEE_PPM: Final = 20_000
BATCH_MOST: Final = 12
STATUSES: Final = {"user_not_found": 404, "payment_not_found": 404, "not_requeueable": 409, "not_resolvable": 409}
"""The statuses of refusals. All others are 422."""

NOBODY: Final = 10**12

SEEDS: Final = st.integers(0, 2**24 - 1)


class ServiceMachine(RuleBasedStateMachine):
    """The clients, the operator and the gateway of one service, and the model that they are compared with.

    A patient machine also waits for events that take seconds: later inquiries about payments in doubt, and late ones
    about payments that have failed, which its service makes soon. Failed examples are kept in `failures`, because a
    faulty service need not fail in the same way when Hypothesis runs an example again.
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
        self.heard: Counter[str] = Counter()
        self.killed = False
        self.fits = False

    @initialize(currency=st.sampled_from(["USD", "KWD", "JPY"]))
    def begin(self, currency: str) -> None:
        """Read the last ids of the service, and open two users."""
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
        """End all payments, so that the next example starts with a quiet service."""
        try:
            if self.fits:
                self.settle()
                self._resolve_all()
                self.settle()
        finally:
            if not self.fits:
                self.failures.append("\n".join([*self.story, traceback.format_exc()]))
                with suppress(AssertionError):
                    self._end_everything()

    def _note(self, what: str) -> None:
        note(what)
        self.story.append(what)

    # --- requests of clients ---

    @rule(seed=SEEDS)
    def request(self, seed: int) -> None:
        """Request a payment, mostly under a key."""
        dice = Random(seed)
        self._ask(self._draw_request(dice, key=f"{seed}"), dice)

    @precondition(lambda self: bool(self.sent))
    @rule(seed=SEEDS)
    def ask_again(self, seed: int) -> None:
        """Send an earlier request again, unchanged or with another amount or type."""
        dice = Random(seed)
        request_ = dice.choice(self.sent)
        other = {"deposit": "withdraw", "withdraw": "deposit"}[request_["type"]]
        self._ask(dice.choice([request_, request_, request_ | {"amount": "1"}, request_ | {"type": other}]), dice)

    @rule(seed=SEEDS, count=st.integers(1, BATCH_MOST))
    def request_many(self, seed: int, count: int) -> None:
        """Request several payments in one batch. Each is accepted or refused by itself."""
        self._ask_for_many(Random(seed), count, key=f"many-{seed}")

    def _ask_for_many(self, dice: Random, count: int, *, key: str) -> None:
        requests, answers = [], []
        for place in range(count):
            again = bool(self.sent) and dice.choice([True, False, False, False])
            requests.append(dice.choice(self.sent) if again else self._draw_request(dice, key=f"{key}-{place}"))
            answers.append(self._expected(requests[-1], dice))
        answer = self.client.post("/payments/batch", {"payments": requests})
        self._note(f"{requests} -> {answer.text}")
        assert answer.status_code == httpx.codes.OK
        for expected, result in zip(answers, answer.json()["results"], strict=True):
            self._compare(expected, result)

    def _draw_request(self, dice: Random, *, key: str) -> dict[str, Any]:
        """Draw a payment request whose answer does not depend on the progress of open payments."""
        user_id = dice.choice([*self.model.users] * 4 + [NOBODY])
        kind, minor = dice.choice(["deposit", "withdraw"]), dice.choice([dice.randint(1, 5_000), 25, 75, 1225])
        currency = self.model.users[user_id].currency if user_id != NOBODY else "USD"
        if user_id != NOBODY and kind == "withdraw":
            available, most = self.model.available(user_id), available_most(self.model, user_id)
            affordable = [some for some in (minor, available // 2, 1) if some + fee_of(some) <= available]
            minor = dice.choice([*affordable, *affordable, most + 1])
        amount = dice.choice([decimal(minor, currency)] * 15 + [Decimal(0), Decimal("0.00001")])
        request_ = {"type": kind, "user_id": user_id, "amount": f"{amount:f}"}
        return dice.choice([request_, *[request_ | {"idempotency_key": key}] * 3])

    def _ask(self, request_: dict[str, Any], dice: Random) -> None:
        expected = self._expected(request_, dice)
        field = "deposit" if request_["type"] == "deposit" else "amount"
        body = {"user_id": request_["user_id"], field: request_["amount"]}
        answer = self.client.post(f"/payments/{request_['type']}", body, key=request_.get("idempotency_key"))
        self._note(f"{request_} -> {answer.status_code} {answer.text}")
        document = answer.json()
        self._compare(expected, document)
        what, facts = expected
        taken = what == "answer" and not facts["refused"]
        assert answer.status_code == (202 if taken else STATUSES.get(document["code"], 422))
        if what == "answer":
            assert self.first_answers.setdefault(facts["payment_id"], answer.content) == answer.content
            assert ("Idempotent-Replayed" in answer.headers) == facts["replayed"]

    def _expected(self, request_: dict[str, Any], dice: Random) -> tuple[str, Any]:
        """Give the gateway its script for the payment, and ask the model for the answer to the request."""
        self.fits = False
        kind, user_id, key = request_["type"], request_["user_id"], request_.get("idempotency_key")
        self.gateway.expect(f"payment-{self.model.next_payment_id(user_id)}", a_script(dice))
        try:
            answer = self.model.request(kind, user_id, Decimal(request_["amount"]), rate_ppm=FEE_PPM, key=key)
        except Refused as refused:
            return "refused", refused.code
        if key is not None and not answer["replayed"]:
            self.sent.append(request_)
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

    # --- decisions of the operator ---

    @precondition(lambda self: bool(self.model.payments))
    @rule(seed=SEEDS)
    def requeue(self, seed: int) -> None:
        """Requeue a payment, mostly a failed one. If none has failed, wait for the open ones first."""
        dice = Random(seed)
        if not any(payment.letter == "failed" for payment in self._at_rest()):
            self.settle()
        payment = self._pick(dice, "failed")
        if payment.letter == "failed" and self._is_open(payment):
            return
        key = self._decision_key(dice)
        expected = self._expected_decision(lambda: self.model.requeue(payment.payment_id, key=key))
        if expected[1].get("replayed") is False:
            # Any other requeue leaves the scripts alone: the gateway is still asked about a payment in doubt.
            for gateway_key in dict.fromkeys([payment.gateway_key, payment.gateway_keys[-1]]):
                self.gateway.expect(gateway_key, a_script(dice))
        self._decide(f"/dlq/{payment.payment_id}/requeue", {}, expected, key=key)

    @precondition(lambda self: bool(self._at_rest()))
    @rule(seed=SEEDS, outcome=st.sampled_from(["success", "failed"]))
    def resolve(self, seed: int, outcome: str) -> None:
        """Resolve a dead letter, mostly one in doubt."""
        dice = Random(seed)
        payment = self._pick(dice, dice.choice(["in_doubt", "contradicted"]))
        if payment.letter == "contradicted" and outcome == "success" and self._is_open(payment):
            return
        self._resolve(payment, outcome, key=self._decision_key(dice))

    def _resolve(self, payment: Payment, outcome: str, *, key: str | None = None) -> None:
        was_in_doubt = payment.letter == "in_doubt"
        expected = self._expected_decision(lambda: self.model.resolve(payment.payment_id, outcome, key=key))
        if was_in_doubt and payment.letter != "in_doubt":
            self.unsure.add(payment.payment_id)
        keys = dict.fromkeys([payment.gateway_key, *payment.gateway_keys, *payment.contradictions])
        before = {each: len(self.gateway.said(each)) for each in keys}
        self._decide(f"/dlq/{payment.payment_id}/resolve", {"outcome": outcome, "force": True}, expected, key=key)
        for each in keys:
            # The service asks before it decides. A worker does not report that answer, so the model does not hear it.
            self.heard[each] += len(self.gateway.said(each)) > before[each]

    def _decision_key(self, dice: Random) -> str | None:
        """Draw the key of a decision. There are few, so that one payment's decisions often share one."""
        return dice.choice([None, None, "first", "second"])

    def _expected_decision(self, ask: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        """Ask the model for the answer to a decision: the status, and the fields that are known."""
        self.fits = False
        try:
            standing = ask()
        except Refused as refused:
            return STATUSES.get(refused.code, 422), {"code": refused.code}
        if standing["replayed"] and self.replays is not None:
            self.replays += 1
        return 202, {name: standing[name] for name in ("payment_id", "state", "replayed")}

    def _decide(
        self, path: str, body: dict[str, Any], expected: tuple[int, dict[str, Any]], *, key: str | None
    ) -> None:
        answer = self.client.post(path, body | {"why": "the bank says so", "by": "Ada Lovelace"}, key=key)
        self._note(f"{path} {body} under {key} -> {answer.status_code} {answer.text}")
        document = answer.json() | {"replayed": "Idempotent-Replayed" in answer.headers}
        assert (answer.status_code, {name: document[name] for name in expected[1]}) == expected
        self.fits = True

    @precondition(lambda self: self.is_patient)
    @rule()
    def answer_in_doubt(self) -> None:
        """Let the gateway tell the truth about a payment in doubt, and wait for the next inquiry."""
        if not (in_doubt := self._in_doubt()):
            return
        self.fits = False
        payment = in_doubt[-1]
        for key in dict.fromkeys([payment.gateway_key, payment.gateway_keys[-1]]):
            self.gateway.expect(key, Script())
        self._report(payment)
        self.fits = True

    @precondition(lambda self: self.is_patient)
    @rule()
    def resolve_before_the_answer(self) -> None:
        """Resolve a payment in doubt as failed while the gateway is about to answer an inquiry about it."""
        if not (in_doubt := self._in_doubt()):
            return
        payment = in_doubt[-1]
        with self.gateway.hold(payment.gateway_key):
            wait_until(self.gateway.holding.is_set)
            self._resolve(payment, "failed")
        self.fits = False
        report_inquiry(self.model, payment.payment_id, self._news(payment)[-1][1])
        if payment.contradictions:
            wait_until(lambda: self.reader.events(payment.payment_id)[-1]["topic"] == "payment.contradicted")
        self.fits = True

    def _in_doubt(self) -> list[Payment]:
        """The payments in doubt, the newest last, because it is inquired about soonest."""
        in_doubt = [each for each in self.model.payments.values() if each.state == "in_doubt"]
        return sorted(in_doubt, key=lambda payment: payment.letter_position)

    def _at_rest(self) -> list[Payment]:
        """The payments whose state does not change by itself."""
        return [each for each in self.model.payments.values() if not each.under_way or each.state == "in_doubt"]

    def _is_open(self, payment: Payment) -> bool:
        """Whether the payment's cover depends on the outcome of open payments."""
        least, most = self.model.available(payment.user_id), available_most(self.model, payment.user_id)
        return payment.kind == "withdraw" and least < payment.total <= most

    def _pick(self, dice: Random, letter: str) -> Payment:
        wanted = [each for each in self._at_rest() if each.letter == letter]
        return dice.choice(dice.choice([wanted, wanted, wanted, self._at_rest()]) or self._at_rest())

    # --- faults ---

    @precondition(lambda self: not self.killed)
    @rule(part=st.sampled_from(["worker", "worker", "projector", "api"]), seed=SEEDS)
    def kill(self, part: str, seed: int) -> None:
        """Kill one process of the service just after it was given many payments. The supervisor restarts it."""
        self.killed = True
        self._ask_for_many(Random(seed), BATCH_MOST, key=f"kill-{seed}")
        if part == "worker":
            # It is not known which of the open calls were made.
            self.disturbed |= {each.payment_id for each in self.model.payments.values() if each.under_way}
        if part == "api":
            self.replays = None
        for process in self.service.processes_of(part):
            process.kill()
            process.wait()
        wait_until(lambda: bool(self.service.processes_of(part)) and self.service.is_ready())
        with suppress(httpx.TransportError):
            self.client.get("/metrics")  # this replaces the kept connection, which the kill has closed

    # --- comparison ---

    @rule()
    def settle(self) -> None:
        """Wait for the gateway and the read models, and compare every resource."""
        self.fits = False
        for payment in self.model.payments.values():
            if payment.under_way and payment.state != "in_doubt":
                self._report(payment)
        self.reader.wait_for_the_read_models()
        self.reader.compare(self.model, replays=self.replays)
        compare_effects(self.model, self.gateway, self.unsure)
        self.fits = True

    def _report(self, payment: Payment) -> None:
        """Wait for a payment, and tell the model the gateway's answers, or the events if some answers timed out.

        A payment is in doubt for a while when an inquiry times out, and ends when the gateway is asked again.
        """
        keys = {payment.gateway_key, payment.gateway_keys[-1]}
        rest = ENDS if all(map(self.gateway.tells_the_truth, keys)) else QUIET
        events = self.reader.wait_for_the_gateway(payment.payment_id, rest, late=self.is_patient)
        news = events[self.model.version(f"payment-{payment.payment_id}") :]
        said = self._news(payment)
        timed_out = any(each["data"].get("error") == "timeout" for each in news)
        if timed_out or payment.payment_id in self.disturbed:
            report_recorded(self.model, payment.payment_id, news)
        else:
            report_answers(self.model, payment.payment_id, said)
            report_late_answers(self.model, payment.payment_id, news)
        assert not payment.under_way or payment.state == "in_doubt"
        assert not (self.is_patient and payment.next_call == "inquire_late")

    def _news(self, payment: Payment) -> list[tuple[str, str]]:
        """The gateway's answers since the last time: first under the old key, and then under the series' own."""
        news = []
        for key in dict.fromkeys([payment.gateway_key, payment.gateway_keys[-1]]):
            said = self.gateway.said(key)
            news += said[self.heard[key] :]
            self.heard[key] = len(said)
        return news

    def _resolve_all(self) -> None:
        for payment in self._in_doubt():
            self._resolve(payment, "failed")

    def _end_everything(self) -> None:
        """Leave no open payment that could disturb the next example."""

        def nothing_moves() -> bool:
            for letter in self.client.get("/dlq", limit=500):
                if letter["state"] == "in_doubt":
                    body = {"outcome": "failed", "force": True, "why": "the story is over", "by": "Ada Lovelace"}
                    self.client.post(f"/dlq/{letter['payment_id']}/resolve", body)
            waiting: int = self.client.get("/health")["gateway_queue"]["waiting"]
            return waiting == 0

        wait_until(nothing_moves)
        self.reader.wait_for_the_read_models()


def available_most(model: Model, user_id: int) -> int:
    """The available amount if all open deposits succeed and all open withdrawals fail, in minor units."""
    return model.balance(user_id) + model.pending(user_id)


def fee_of(minor: int) -> int:
    """Two percent of an amount, rounded half up, in minor units."""
    return (2 * minor + 50) // 100
