"""The model's reaction to the worker's reports: the gateway's answers to calls and inquiries, and a payment's end.

`Reports` lies under the model's commands, and shares no code with the ledger either.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.model.state import Entry, ModelState, Payment, User


class Refused(Exception):
    """The command is refused; the code says why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Reports(ModelState):
    """Payments on their way through the gateway."""

    # --- reports of the worker ---

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
        """Report a call's outcome: approved, declined, turned_away or unknown. `then` is the next step."""
        payment = self._seen(payment_id, seen_version)
        if series > payment.series:
            raise Refused("outcome_impossible")
        with self._watching_for_letters(payment):
            if not payment.under_way or series < payment.series or attempt <= payment.attempts:
                if told == "approved":
                    self._learn_late(payment, payment.key_of(series))
            elif attempt > payment.attempts + 1 or payment.state == "in_doubt" or payment.asks_first:
                raise Refused("outcome_impossible")
            else:
                self._attempt(payment, told, then, error, reason)
        return self._standing(payment)

    def _learn_late(self, payment: Payment, gateway_key: str) -> None:
        """Record a late success: it ends an open payment, and contradicts one that was given up."""
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
            "fail_asking_late": told != "approved" and not maybe_moved,
        }
        if not allowed[then]:
            raise Refused("outcome_impossible")
        payment.state = "processing"
        if told == "unknown":
            payment.unsure.add(payment.gateway_key)
        elif told == "declined" and not maybe_moved:
            payment.declined.add(payment.gateway_key)
        payment.attempts += 1
        payment.attempt_error, payment.last_error = error, None if told == "approved" else error or told
        payment.next_call_known = then in {"retry", "inquire"}
        payment.next_call = "inquire" if then == "inquire" else "pay"
        self._happens(payment, "gateway_attempted")
        self._count_attempt(told, then, error)
        if then == "succeed":
            self._succeed(payment)
        elif then.startswith("fail"):
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
        late: int = 0,
    ) -> dict[str, Any]:
        """Report the answer to an inquiry: approved, declined, not_found or no_clear_answer.

        `late` numbers the late inquiries from 1, and is 0 for an inquiry that is none.
        """
        payment, approved = self._seen(payment_id, seen_version), answer == "approved"
        if payment.next_call == "inquire_late" and (series, late) == (payment.series, payment.late_answers + 1):
            with self._watching_for_letters(payment):
                self._be_told_late(payment, answer, then)
            return self._standing(payment)
        if series > payment.series:
            raise Refused("outcome_impossible")
        with self._watching_for_letters(payment):
            gateway_key = payment.key_of(series)
            if payment.under_way and (series == payment.series or (approved and gateway_key == payment.gateway_key)):
                ask_first = self._be_told_first if payment.asks_first else self._be_told
                ask_first(payment, answer, then, error, reason or payment.attempt_error)
                if (answer, then) == ("not_found", "fail_asking_late"):
                    payment.next_call, payment.late_answers = "inquire_late", 0
            elif approved:
                self._contradict(payment, gateway_key)
        return self._standing(payment)

    def _be_told(self, payment: Payment, answer: str, then: str, error: str | None, reason: str | None) -> None:
        failing = {"fail", "fail_unasked", "fail_asking_late"}
        follows = {"approved": {"succeed"}, "declined": failing, "not_found": failing, "no_clear_answer": {"inquire"}}
        if then not in follows[answer]:
            raise Refused("outcome_impossible")
        if answer == "no_clear_answer":
            self._park(payment, error)
            return
        self._happens(payment, "inquired")
        if answer == "approved":
            self._succeed(payment)
        else:
            self._believe(payment, answer)
            self._fail(payment, reason or "unknown_reason", a_letter=True)

    def _be_told_first(self, payment: Payment, answer: str, then: str, error: str | None, _: str | None) -> None:
        """Hear about the old key before the series calls: only money that moved under it ends the payment."""
        if (answer, then) == ("no_clear_answer", "inquire"):
            self._park(payment, error)
        elif (answer, then) == ("approved", "succeed"):
            self._happens(payment, "inquired")
            self._succeed(payment)
        elif answer != "approved" and then == "retry":
            self._happens(payment, "inquired")
            self._believe(payment, answer)
            payment.asks_first, payment.state, payment.next_call = False, "processing", "pay"
        else:
            raise Refused("outcome_impossible")

    def _be_told_late(self, payment: Payment, answer: str, then: str) -> None:
        follows = {
            "approved": {"succeed"},
            "declined": {"fail", "fail_unasked", "fail_asking_late"},
            "not_found": {"fail", "fail_unasked", "fail_asking_late", "inquire"},
            "no_clear_answer": {"inquire"},
        }
        if then not in follows[answer]:
            raise Refused("outcome_impossible")
        if answer == "no_clear_answer":
            return
        self._happens(payment, "inquired")
        self._believe(payment, answer)
        if then == "inquire":
            payment.late_answers += 1
            return
        payment.next_call = None
        if answer == "approved":
            self._contradict(payment, payment.gateway_key)

    def _park(self, payment: Payment, error: str | None) -> None:
        if payment.state == "in_doubt":
            return
        self._happens(payment, "inquired")
        payment.state, payment.next_call_known = "in_doubt", False
        payment.next_call = "inquire_first" if payment.asks_first else "inquire"
        payment.letter_error = error or "no_clear_answer"
        self._happens(payment, "parked")
        self.counters["dlq_written_total"] += 1

    def _believe(self, payment: Payment, answer: str) -> None:
        """A gateway that says declined has made up its mind; one that does not know the payment may still pay."""
        if answer == "declined":
            payment.declined.add(payment.gateway_key)
            payment.unsure.discard(payment.gateway_key)

    def _contradict(self, payment: Payment, gateway_key: str) -> None:
        """Record that money moved although the payment's state says otherwise; once for each key."""
        if gateway_key not in payment.moved:
            payment.moved.add(gateway_key)
            payment.contradictions.append(gateway_key)
            payment.ever_contradicted = True
            self._happens(payment, "contradicted")
            self.counters["dlq_written_total"] += 1

    # --- events of a payment ---

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
        # A series that ended before it called was settled or given up under the old key.
        payment.gateway_keys[-1], payment.asks_first = payment.gateway_key, False
        payment.next_call, payment.next_call_known = None, False
        self._happens(payment, state)

    def _make_sure_of_money(self, payment: Payment) -> None:
        """Refuse a payment that could not be settled: a withdrawal without cover, a deposit above the balance limit."""
        if payment.kind == "deposit":
            self._make_sure_of_room(payment)
        elif payment.total > self.available(payment.user_id):
            raise Refused("insufficient_funds")

    def _make_sure_of_room(self, payment: Payment) -> None:
        if payment.net > self.room(payment.user_id):
            raise Refused("balance_limit_exceeded")

    # --- internals ---

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
        """Note the position of a new dead letter: that of the payment's event that caused it."""
        before = payment.letter
        yield
        if payment.letter not in {before, None}:
            payment.letter_position = self.position(stream_of(payment))
            payment.letter_attempts = payment.attempts_in_all
            if payment.letter == "contradicted":
                payment.letter_error = "contradicted"

    def _standing(self, payment: Payment) -> dict[str, Any]:
        version = self.version(stream_of(payment))
        return {"payment_id": payment.payment_id, "state": payment.state, "version": version, "replayed": False}

    def _happens(self, to: User | Payment, what: str) -> None:
        stream = stream_of(to)
        self.log.append((stream, f"{stream.partition('-')[0]}.{what}"))

    def _post(self, user: User | None, payment: Payment | None = None, **postings: int) -> None:
        nothing = dict.fromkeys(["customer", "gateway_clearing", "fee_revenue", "opening_equity", "suspense"], 0)
        payment_id = None if payment is None else payment.payment_id
        user_id = None if user is None else user.user_id
        about = user or payment
        assert about is not None
        self.journal.append(Entry(len(self.log), user_id, payment_id, about.currency, **{**nothing, **postings}))


def stream_of(whose: User | Payment) -> str:
    """The name of the event stream of an account or a payment."""
    return f"account-{whose.user_id}" if isinstance(whose, User) else f"payment-{whose.payment_id}"
