"""An independent ledger: what the ledger promises to do, in plain Python, sharing no code with it.

Commands are methods with plain arguments. They give what the ledger answers, as a dictionary, or raise `Refused` with
the refusal's code. Amounts come in as decimals and are whole minor units inside. What commands leave behind is in
`model_books`: the journal, the names of the events that have to be recorded, in order, and the payments. Times are no
part of it: of a next call it says only whether clients know it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, Final

from tests.model_books import Entry, ModelBooks, Payment, User

DECIMALS: Final = {"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4}
"""The currencies that this model knows, and how many decimals each has."""

AMOUNT_MOST: Final = 10**15


class Refused(Exception):
    """The answer is no; the code says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Model(ModelBooks):
    """The ledger as it has to be."""

    def __init__(self, *, users_before: int = 0, payments_before: int = 0) -> None:
        super().__init__(users_before=users_before, payments_before=payments_before)
        self.keys: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}

    # --- what a client asks for ---

    def open(self, opening: Decimal, currency: str, *, caller: str = "", key: str | None = None) -> dict[str, Any]:
        """Open a user's account."""
        minor = minor_units(opening, currency)
        scope, asked = f"caller-{caller}", ("open", minor, currency)
        if (before := self._answered(scope, key, asked)) is not None:
            return before
        user = User(self.users_before + len(self.users) + 1, currency, minor)
        self.users[user.user_id] = user
        self._happens(user, "opened")
        self._post(user, customer=-minor, opening_equity=minor)
        answer = {"account_id": user.user_id, "currency": currency, "opening_minor": minor, "replayed": False}
        return self._answer(scope, key, asked, answer)

    def request(
        self, kind: str, user_id: int, amount: Decimal, *, rate_ppm: int, key: str | None = None
    ) -> dict[str, Any]:
        """Ask for a deposit or a withdrawal, at a fee of `rate_ppm` millionths."""
        if user_id not in self.users:
            raise Refused("user_not_found")
        user = self.users[user_id]
        minor = minor_units(amount, user.currency)
        if minor == 0:
            raise Refused("amount_invalid")
        scope, asked = f"user-{user_id}", (kind, minor)
        if (before := self._answered(scope, key, asked)) is not None:
            return before
        payment_id = self.next_payment_id(user_id)
        fee = floor(Fraction(minor) * rate_ppm / 1_000_000 + Fraction(1, 2))
        payment = Payment(payment_id, user_id, kind, minor, fee, user.currency, [f"payment-{payment_id}"])
        payment.refused_at_once = kind == "withdraw" and payment.total > self.available(user_id)
        if kind == "deposit":
            self._make_sure_of_room(payment)
        self.payments[payment_id] = payment
        self.counters[f"payments_{kind}_requests_total"] += 1
        self._happens(payment, "requested")
        if payment.refused_at_once:
            self._fail(payment, "insufficient_funds")
        else:
            self._set_off(payment)
        answer = {
            "payment_id": payment_id,
            "account_id": user_id,
            "kind": kind,
            "amount_minor": minor,
            "fee_minor": fee,
            "currency": user.currency,
            "refused": payment.refused_at_once,
            "replayed": False,
        }
        return self._answer(scope, key, asked, answer)

    def _answered(self, scope: str, key: str | None, asked: Any) -> dict[str, Any] | None:
        """Give the first answer again, if the key has one; refuse the key for another request."""
        if key is None or (scope, key) not in self.keys:
            return None
        asked_first, first_answer = self.keys[scope, key]
        if asked != asked_first:
            raise Refused("idempotency_key_reused")
        return {**first_answer, "replayed": True}

    def _answer(self, scope: str, key: str | None, asked: Any, answer: dict[str, Any]) -> dict[str, Any]:
        if key is not None:
            self.keys[scope, key] = asked, answer
        return answer

    # --- what the gateway's process reports ---

    def outcome(
        self,
        payment_id: int,
        *,
        seen_version: int,
        series: int,
        attempt: int,
        told: str,
        then: str,
        error: str | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Report what one call told: approved, declined, turned_away or unknown; `then` is what is to follow."""
        payment = self._seen(payment_id, seen_version)
        if series > payment.series:
            raise Refused("outcome_impossible")
        with self._watching_for_letters(payment):
            if not payment.under_way or series < payment.series or attempt <= payment.attempts:
                if told == "approved":
                    self._learn_late(payment, payment.gateway_keys[series - 1])
            elif attempt > payment.attempts + 1 or payment.state == "in_doubt":
                raise Refused("outcome_impossible")
            else:
                self._attempt(payment, told, then, error, reason)
        return self._standing(payment)

    def _learn_late(self, payment: Payment, gateway_key: str) -> None:
        """Success of an attempt that was written off: it ends what is open, and contradicts what was given up."""
        if payment.under_way and gateway_key == payment.gateway_key:
            self._happens(payment, "gateway_attempted")
            self._succeed(payment)
        else:
            self._contradict(payment, gateway_key)

    def _attempt(self, payment: Payment, told: str, then: str, error: str | None, reason: str | None) -> None:
        maybe_moved = payment.maybe_moved or told == "unknown"
        allowed = {
            "succeed": told == "approved",
            "retry": told in {"turned_away", "unknown"},
            "inquire": told != "approved",
            "fail": told != "approved" and not maybe_moved,
            "fail_unasked": told != "approved",
        }
        if not allowed[then]:
            raise Refused("outcome_impossible")
        payment.state, payment.maybe_moved = "processing", maybe_moved
        payment.attempts += 1
        payment.attempt_error, payment.last_error = error, None if told == "approved" else error or told
        payment.next_call_known = then in {"retry", "inquire"}
        payment.next_call = "inquire" if then == "inquire" else "pay"
        self._happens(payment, "gateway_attempted")
        self._count_attempt(told, then, error)
        if then == "succeed":
            self._succeed(payment)
        elif then.startswith("fail"):
            payment.failed_unasked = maybe_moved
            self._fail(payment, reason or error or "unknown_reason", a_letter=True)

    def _count_attempt(self, told: str, then: str, error: str | None) -> None:
        timed_out = told == "unknown" and error == "timeout"
        name = {"approved": "success", "declined": "non_retryable_errors"}.get(told, "errors")
        self.counters[f"gateway_{'timeouts' if timed_out else name}_total"] += 1
        self.counters["payments_processing_started_total"] += 1
        self.counters["payments_retried_total"] += then == "retry"

    def inquiry(
        self,
        payment_id: int,
        *,
        seen_version: int,
        series: int,
        answer: str,
        then: str,
        error: str | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        """Report what the gateway says became of a payment: approved, declined or no_clear_answer."""
        payment, approved = self._seen(payment_id, seen_version), answer == "approved"
        if series > payment.series:
            raise Refused("outcome_impossible")
        with self._watching_for_letters(payment):
            gateway_key = payment.gateway_keys[series - 1]
            if payment.under_way and (series == payment.series or (approved and gateway_key == payment.gateway_key)):
                self._be_told(payment, answer, then, error, reason or payment.attempt_error)
            elif approved:
                self._contradict(payment, gateway_key)
        return self._standing(payment)

    def _be_told(self, payment: Payment, answer: str, then: str, error: str | None, reason: str | None) -> None:
        follows = {"approved": {"succeed"}, "declined": {"fail", "fail_unasked"}, "no_clear_answer": {"inquire"}}
        if then not in follows[answer]:
            raise Refused("outcome_impossible")
        if answer == "no_clear_answer" and payment.state == "in_doubt":
            return
        self._happens(payment, "inquired")
        if answer == "approved":
            self._succeed(payment)
        elif answer == "declined":
            self._fail(payment, reason or "unknown_reason", a_letter=True)
        else:
            payment.state, payment.next_call, payment.next_call_known = "in_doubt", "inquire", False
            payment.letter_error = error or "no_clear_answer"
            self._happens(payment, "parked")
            self.counters["dlq_written_total"] += 1

    def _contradict(self, payment: Payment, gateway_key: str) -> None:
        """Take note of money that moved unknown to the payment as it stands; under each key once."""
        if gateway_key not in payment.moved:
            payment.moved.add(gateway_key)
            payment.contradictions.append(gateway_key)
            self._happens(payment, "contradicted")
            self.counters["dlq_written_total"] += 1

    # --- what an operator decides ---

    def requeue(self, payment_id: int, *, same_gateway_key: bool = False) -> dict[str, Any]:
        """Send a failed payment to the gateway again."""
        payment = self._payment(payment_id)
        if payment.letter != "failed":
            raise Refused("not_requeueable")
        self._make_sure_of_money(payment)
        key_of_its_own = f"payment-{payment_id}-{payment.series + 1}"
        keeps_key = same_gateway_key or payment.failed_unasked
        payment.gateway_keys.append(payment.gateway_key if keeps_key else key_of_its_own)
        payment.attempts_before, payment.attempts = payment.attempts_in_all, 0
        payment.state, payment.maybe_moved, payment.failed_unasked = "processing", payment.failed_unasked, False
        payment.next_call, payment.next_call_known = "pay", False
        self._happens(payment, "requeued")
        self._set_off(payment)
        return self._standing(payment)

    def resolve(self, payment_id: int, outcome: str) -> dict[str, Any]:
        """Close a dead letter as a success or as failed."""
        payment = self._payment(payment_id)
        match payment.letter, payment.state, outcome:
            case (None, _, _) | ("failed", _, "success") | ("reconcile", "succeeded", "failed"):
                raise Refused("not_resolvable")
            case ("reconcile", "failed", "success"):
                self._make_sure_of_money(payment)
            case _:
                pass
        with self._watching_for_letters(payment):
            self._happens(payment, "resolved")
            self._close(payment, outcome)
        return self._standing(payment)

    def _close(self, payment: Payment, outcome: str) -> None:
        match payment.letter, outcome:
            case "in_doubt", "success":
                self._succeed(payment)
            case "in_doubt", _:
                payment.closed = True
                self._fail(payment, "resolved_as_failed")
            case "reconcile", "success" if payment.state == "failed":
                # One posting stands for money moved once; what moved under other keys is still to be looked at.
                del payment.contradictions[0]
                self._settle(payment)
            case _:
                payment.closed = True
                payment.contradictions.clear()

    # --- what happens to a payment ---

    def _set_off(self, payment: Payment) -> None:
        self.counters["payments_task_enqueued_total"] += 1
        if payment.kind == "withdraw":
            self._happens(self.users[payment.user_id], "funds_held")

    def _succeed(self, payment: Payment) -> None:
        payment.moved.add(payment.gateway_key)
        self._settle(payment)

    def _settle(self, payment: Payment) -> None:
        self._end(payment, "succeeded", None)
        self.counters["payments_success_total"] += 1
        user, fee = self.users[payment.user_id], payment.fee
        if payment.kind == "deposit":
            self._happens(user, "credited")
            self._post(user, payment, customer=-payment.net, gateway_clearing=payment.amount, fee_revenue=-fee)
        else:
            self._happens(user, "debited")
            self._post(user, payment, customer=payment.total, gateway_clearing=-payment.amount, fee_revenue=-fee)

    def _fail(self, payment: Payment, reason: str, *, a_letter: bool = False) -> None:
        self._end(payment, "failed", reason)
        payment.letter_error = reason
        self.counters["payments_failed_total"] += 1
        self.counters["dlq_written_total"] += a_letter
        if payment.kind == "withdraw" and not payment.refused_at_once:
            self._happens(self.users[payment.user_id], "hold_released")

    def _end(self, payment: Payment, state: str, error: str | None) -> None:
        payment.state, payment.last_error = state, error
        payment.next_call, payment.next_call_known = None, False
        self._happens(payment, state)

    def _make_sure_of_money(self, payment: Payment) -> None:
        """Refuse what could not be settled: a withdrawal that is not covered, a deposit that has no room."""
        if payment.kind == "deposit":
            self._make_sure_of_room(payment)
        elif payment.total > self.available(payment.user_id):
            raise Refused("insufficient_funds")

    def _make_sure_of_room(self, payment: Payment) -> None:
        if payment.net > self.room(payment.user_id):
            raise Refused("balance_limit_exceeded")

    # --- parts ---

    def _payment(self, payment_id: int) -> Payment:
        if payment_id not in self.payments:
            raise Refused("payment_not_found")
        return self.payments[payment_id]

    def _seen(self, payment_id: int, seen_version: int) -> Payment:
        payment = self._payment(payment_id)
        if seen_version != self.version(stream_of(payment)):
            raise Refused("stale_command")
        return payment

    @contextmanager
    def _watching_for_letters(self, payment: Payment) -> Iterator[None]:
        """Note the place of a new letter: that of the payment's event that brought it about."""
        before = payment.letter
        yield
        if payment.letter not in {before, None}:
            payment.letter_position = self.position(stream_of(payment))
            payment.letter_attempts = payment.attempts_in_all
            if payment.letter == "reconcile":
                payment.letter_error = "contradicted"

    def _standing(self, payment: Payment) -> dict[str, Any]:
        version = self.version(stream_of(payment))
        return {"payment_id": payment.payment_id, "state": payment.state, "version": version}

    def _happens(self, to: User | Payment, what: str) -> None:
        stream = stream_of(to)
        self.log.append((stream, f"{stream.partition('-')[0]}.{what}"))

    def _post(self, user: User, payment: Payment | None = None, **postings: int) -> None:
        nothing = {"customer": 0, "gateway_clearing": 0, "fee_revenue": 0, "opening_equity": 0}
        payment_id = None if payment is None else payment.payment_id
        self.journal.append(Entry(len(self.log), user.user_id, payment_id, user.currency, **{**nothing, **postings}))


def stream_of(whose: User | Payment) -> str:
    """The name of the stream of events of an account or a payment."""
    return f"account-{whose.user_id}" if isinstance(whose, User) else f"payment-{whose.payment_id}"


def minor_units(amount: Decimal, currency: str) -> int:
    """Turn an amount into minor units, exactly."""
    if currency not in DECIMALS:
        raise Refused("currency_unknown")
    minor = Fraction(amount) * 10 ** DECIMALS[currency]
    if amount.is_signed() or minor.denominator != 1 or minor > AMOUNT_MOST:
        raise Refused("amount_invalid")
    return int(minor)
