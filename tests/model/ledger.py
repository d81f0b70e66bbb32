"""An independent ledger: the rules of the ledger in plain Python, sharing no code with it.

Commands are methods with plain arguments. Each returns the ledger's answer as a dictionary, or raises `Refused` with
the refusal's code. Amounts come in as decimals and are whole minor units inside. `tests.model.state` keeps the results:
the journal, the names of the events that must be recorded, in order, and the payments. The model knows no times: of a
payment's next call it says only whether clients know when it is.
"""

from decimal import Decimal
from fractions import Fraction
from math import floor
from typing import Any, Final

from tests.model.reports import Refused, Reports, stream_of
from tests.model.state import Payment, User

DECIMALS: Final = {"USD": 2, "JPY": 0, "KWD": 3, "CLF": 4}
"""The currencies that this model knows, and how many decimals each has."""

AMOUNT_MOST: Final = 10**15

KIND_MOVES: Final = {"deposit": "in", "withdraw": "out"}

__all__ = ["AMOUNT_MOST", "DECIMALS", "Model", "Refused", "minor_units", "stream_of"]


class Model(Reports):
    """The ledger as it must behave."""

    def __init__(self, *, users_before: int = 0, payments_before: int = 0, key_salt: str = "") -> None:
        super().__init__(users_before=users_before, payments_before=payments_before)
        self.key_salt = f"_{key_salt}" if key_salt else ""
        self.keys: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {}

    # --- commands of clients ---

    def open(self, opening: Decimal, currency: str, *, caller: str = "", key: str | None = None) -> dict[str, Any]:
        """Open a user's account."""
        minor = minor_units(opening, currency)
        scope, asked = f"caller-{caller}", ("open", minor, currency)
        if (before := self._answered(scope, key, asked)) is not None:
            return before
        user = User(self.next_user_id, currency, minor)
        self.users[user.user_id] = user
        self._happens(user, "opened")
        self._post(user, customer=-minor, opening_equity=minor)
        answer = {"account_id": user.user_id, "currency": currency, "opening_minor": minor, "replayed": False}
        return self._answer(scope, key, asked, answer)

    def request(
        self,
        kind: str,
        user_id: int,
        amount: Decimal,
        *,
        rate_ppm: int,
        key: str | None = None,
        waiting_most: int = 0,
    ) -> dict[str, Any]:
        """Ask for a deposit or a withdrawal, at a fee of `rate_ppm` millionths.

        A user with `waiting_most` payments under way is refused a further one; 0 for any number.
        """
        if user_id not in self.users:
            raise Refused("user_not_found")
        user = self.users[user_id]
        minor = minor_units(amount, user.currency)
        if minor == 0:
            raise Refused("amount_invalid")
        scope, asked = f"user-{user_id}", (kind, minor)
        if (before := self._answered(scope, key, asked)) is not None:
            return before
        if (
            waiting_most
            and sum(each.user_id == user_id and each.under_way for each in self.payments.values()) >= waiting_most
        ):
            raise Refused("too_many_waiting")
        payment_id = self.next_payment_id(user_id)
        fee = floor(Fraction(minor) * rate_ppm / 1_000_000 + Fraction(1, 2))
        payment = Payment(
            payment_id, user_id, kind, minor, fee, user.currency, [f"payment-{payment_id}{self.key_salt}"]
        )
        available = self.available(user_id)
        payment.refused_at_once = kind == "withdraw" and payment.total > available
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
            "available_minor": available if payment.refused_at_once else None,
            "replayed": False,
        }
        return self._answer(scope, key, asked, answer)

    def _answered(self, scope: str, key: str | None, asked: Any) -> dict[str, Any] | None:
        """Return the first answer again, if the key has one; refuse the key for another request."""
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

    # --- decisions of operators ---

    def requeue(self, payment_id: int, *, ask_first: bool = True, key: str | None = None) -> dict[str, Any]:
        """Send a failed payment to the gateway again."""
        payment, asked = self._payment(payment_id), ("requeue",)
        if (before := self._decided(payment, key, asked)) is not None:
            return before
        if payment.letter != "failed":
            raise Refused("not_requeueable")
        self._make_sure_of_money(payment)
        old_key, key_of_its_own = payment.gateway_key, f"payment-{payment_id}-{payment.series + 1}{self.key_salt}"
        gets_a_new_one = old_key in payment.declined and old_key not in payment.unsure
        payment.attempts_before, payment.attempts = payment.attempts_in_all, 0
        payment.gateway_keys.append(key_of_its_own if gets_a_new_one else old_key)
        payment.state, payment.asks_first = "processing", ask_first
        payment.next_call, payment.next_call_known = "inquire_first" if ask_first else "pay", False
        self._happens(payment, "requeued")
        self._set_off(payment)
        return self._answer(stream_of(payment), key, asked, self._standing(payment))

    def adjust(
        self,
        payment_id: int,
        against: str,
        *,
        direction: str | None = None,
        amount: Decimal | None = None,
        gateway_key: str | None = None,
        key: str | None = None,
    ) -> dict[str, Any]:
        """Book money that the gateway moved beside the payment's end, against the account or suspense."""
        payment = self._payment(payment_id)
        minor = payment.amount if amount is None else minor_units(amount, payment.currency)
        if minor == 0:
            raise Refused("amount_invalid")
        direction = direction or KIND_MOVES[payment.kind]
        asked = ("adjust", against, direction, minor, gateway_key or "")
        if (before := self._decided(payment, key, asked)) is not None:
            return before
        if payment.under_way or (payment.refused_at_once and not payment.ever_contradicted):
            raise Refused("not_adjustable")
        own_key = payment.gateway_key
        stands_for_own_key = (
            payment.state == "failed"
            and not payment.contradictions
            and own_key not in payment.moved
            and gateway_key in {None, own_key}
        )
        named = None if stands_for_own_key else self._meant(payment, gateway_key)
        if named is None and key is None and not stands_for_own_key:
            raise Refused("idempotency_key_missing")
        user, comes_in = self.users[payment.user_id], direction == "in"
        if against == "account" and comes_in and minor > self.room(user.user_id):
            raise Refused("balance_limit_exceeded")
        if against == "account" and not comes_in and minor > self.available(user.user_id):
            raise Refused("insufficient_funds")
        with self._watching_for_letters(payment):
            self._happens(payment, "adjusted")
            if named is not None:
                payment.contradictions.remove(named)
            if stands_for_own_key:
                payment.moved.add(own_key)
            payment.closed = payment.closed or stands_for_own_key or named is not None
        self._book(user if against == "account" else None, payment, minor if comes_in else -minor)
        return self._answer(stream_of(payment), key, asked, self._standing(payment) | {"state": "adjusted"})

    def _book(self, user: User | None, payment: Payment, clearing: int) -> None:
        if user is None:
            self._post(None, payment, suspense=-clearing, gateway_clearing=clearing)
        else:
            self._happens(user, "adjusted")
            self._post(user, payment, customer=-clearing, gateway_clearing=clearing)

    def _meant(self, payment: Payment, gateway_key: str | None) -> str | None:
        """The open contradiction that is meant, None where there is none."""
        open_ones = payment.contradictions
        if gateway_key is None and len(open_ones) <= 1:
            return open_ones[0] if open_ones else None
        if gateway_key not in open_ones:
            raise Refused("contradiction_not_named")
        return gateway_key

    def resolve(
        self,
        payment_id: int,
        outcome: str,
        *,
        gateway_key: str | None = None,
        key: str | None = None,
        told: str | None = None,
        force: bool = False,
        asks_late: bool = False,
    ) -> dict[str, Any]:
        """Close a dead letter as a success or as failed; of several contradictions one.

        `told` is what the gateway has just said: that the money moved (approved), or not (declined, not_found). Only
        with `force` may the outcome be the other one. With `asks_late`, it is asked again about a payment that fails by
        this, unless it has said what it will say again.
        """
        payment, asked = self._payment(payment_id), ("resolve", outcome, gateway_key or "")
        if (before := self._decided(payment, key, asked)) is not None:
            return before
        match payment.letter, payment.state, outcome:
            case (None, _, _) | ("failed", _, "success") | ("contradicted", "succeeded", "failed"):
                raise Refused("not_resolvable")
            case ("in_doubt" | "failed", _, _) if gateway_key is not None:
                raise Refused("contradiction_not_named")
            case _:
                named = self._meant(payment, gateway_key) if payment.letter == "contradicted" else None
        # Money that moved a second time, after the payment had its success, is closed as money that came back.
        stays = outcome == "success" and not (payment.letter == "contradicted" and payment.state == "succeeded")
        if not force and told in (("declined", "not_found") if stays else ("approved",)):
            raise Refused("gateway_disagrees")
        if (payment.letter, payment.state, outcome) == ("contradicted", "failed", "success"):
            self._make_sure_of_money(payment)
        with self._watching_for_letters(payment):
            fails = (payment.letter, outcome) == ("in_doubt", "failed")
            self._happens(payment, "resolved")
            self._close(payment, outcome, named)
            if fails and asks_late and told not in ("approved", "declined"):
                payment.next_call, payment.late_answers = "inquire_late", 0
        return self._answer(stream_of(payment), key, asked, self._standing(payment))

    def _decided(self, payment: Payment, key: str | None, asked: Any) -> dict[str, Any] | None:
        """Return the state after the decision that the key has, if it has one; refuse the key for another decision."""
        first = self._answered(stream_of(payment), key, asked)
        return None if first is None else {**self._standing(payment), "state": first["state"], "replayed": True}

    def _close(self, payment: Payment, outcome: str, named: str | None) -> None:
        match payment.letter, outcome:
            case "in_doubt", "success":
                self._succeed(payment)
            case "in_doubt", _:
                payment.closed = True
                self._fail(payment, "resolved_as_failed")
            case "contradicted", "success" if payment.state == "failed":
                # One posting stands for one movement of money; a movement under another key stays a contradiction.
                payment.contradictions.remove(named or "")
                payment.closed = True
                self._settle(payment)
            case _:
                payment.closed = True
                if named is not None:
                    payment.contradictions.remove(named)

    # --- recovery ---

    def recover(self, skip: int) -> None:
        """Go on after a restore: leave out numbers that may have been given, and count open calls as begun.

        Users leave out whole rounds of 1024, the slots of their numbers.
        """
        self.users_before += -(-skip // 1024) * 1024
        self.payments_before += skip
        for payment in self.payments.values():
            if payment.next_call == "pay":
                payment.begun = (payment.series, payment.attempts)
        self.log.append(("ledger", "ledger.recovered"))


def minor_units(amount: Decimal, currency: str) -> int:
    """Convert an amount to minor units, exactly."""
    if currency not in DECIMALS:
        raise Refused("currency_unknown")
    minor = Fraction(amount) * 10 ** DECIMALS[currency]
    if amount.is_signed() or minor.denominator != 1 or minor > AMOUNT_MOST:
        raise Refused("amount_invalid")
    return int(minor)
