"""The state of the model ledger: users, payments, the journal and the log, and all that can be computed from them.

The model stores nothing that it can compute. A balance is the sum of the journal's postings, the held amount is the sum
of the open withdrawals, the pending amount is the sum of the open deposits, and a version is the number of events of a
stream. So the model has no second copy of a fact that could go wrong in the same way as the ledger's.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

BALANCE_MOST: Final = 2**53 - 1

UNDER_WAY: Final = {"new", "processing", "in_doubt"}
CLIENTS_WORDS: Final = {"in_doubt": "processing", "succeeded": "success"}


@dataclass(frozen=True)
class User:
    """A user and the opening balance, in minor units."""

    user_id: int
    currency: str
    opening: int


@dataclass(frozen=True)
class Entry:
    """One journal entry, with its posting to each of the five accounts. Debits are positive, credits negative.

    An entry against suspense has no user.
    """

    position: int
    user_id: int | None
    payment_id: int | None
    currency: str
    customer: int
    gateway_clearing: int
    fee_revenue: int
    opening_equity: int
    suspense: int


@dataclass
class Payment:
    """A payment. Each of its series of attempts has its gateway key in `gateway_keys`; two series may share a key.

    `attempts` counts the attempts of the current series, and `attempt_error` is the error of the last one. `unsure` are
    the keys under which a call may have moved the money, and `declined` those under which the gateway has declined.
    While `asks_first`, the gateway is asked about the key before the current series. `late_answers` counts the clear
    answers to late inquiries since the failure. `moved` are the keys under which money is known to have moved.
    `contradictions` are those of them that became known after the series was given up, in that order, as long as no
    operator has resolved them. `next_call` is the next request to the gateway: pay, inquire, inquire_first or
    inquire_late. `closed` says that an operator has ended the payment or closed its dead letter. `begun` is the series
    and the number of attempts in it when a recovery counted its next call as begun.
    """

    payment_id: int
    user_id: int
    kind: str
    amount: int
    fee: int
    currency: str
    gateway_keys: list[str]
    state: str = "new"
    attempts: int = 0
    attempts_before: int = 0
    unsure: set[str] = field(default_factory=set)
    declined: set[str] = field(default_factory=set)
    asks_first: bool = False
    late_answers: int = 0
    refused_at_once: bool = False
    closed: bool = False
    moved: set[str] = field(default_factory=set)
    contradictions: list[str] = field(default_factory=list)
    ever_contradicted: bool = False
    last_error: str | None = None
    attempt_error: str | None = None
    next_call: str | None = "pay"
    next_call_known: bool = False
    begun: tuple[int, int] | None = None
    letter_position: int = 0
    letter_error: str = ""
    letter_attempts: int = 0

    @property
    def series(self) -> int:
        """The number of the current or last series."""
        return len(self.gateway_keys)

    @property
    def gateway_key(self) -> str:
        """The gateway key in use, by which the gateway knows the payment."""
        return self.gateway_keys[-2 if self.asks_first else -1]

    def key_of(self, series: int) -> str:
        """The gateway key under which a series is called or asked about."""
        return self.gateway_key if series == self.series else self.gateway_keys[series - 1]

    @property
    def maybe_moved(self) -> bool:
        """Whether a call under the key in use may have moved the money."""
        return self.gateway_key in self.unsure

    @property
    def queued_attempts(self) -> int:
        """The attempts in the gateway queue, which has a call that is counted as begun already."""
        return self.attempts + (self.next_call == "pay" and self.begun == (self.series, self.attempts))

    @property
    def under_way(self) -> bool:
        """Whether the payment has not ended."""
        return self.state in UNDER_WAY

    @property
    def attempts_in_all(self) -> int:
        """The attempts of all series, as clients see them."""
        return self.attempts_before + self.attempts

    @property
    def total(self) -> int:
        """The amount and fee, which a withdrawal debits."""
        return self.amount + self.fee

    @property
    def net(self) -> int:
        """The amount less the fee, which a deposit credits."""
        return self.amount - self.fee

    @property
    def letter(self) -> str | None:
        """The state of its dead letter, if there is one."""
        if self.state == "in_doubt":
            return "in_doubt"
        if self.contradictions and not self.under_way:
            return "contradicted"
        failed_at_the_gateway = self.state == "failed" and not self.refused_at_once and not self.closed
        return "failed" if failed_at_the_gateway else None


class ModelState:
    """All state of the model. `log` names the recorded events in order, by stream and topic.

    A model may start on a ledger that already has `users_before` users and `payments_before` payments. It knows nothing
    else of them, and its log starts empty. A recovery adds the numbers to them that it leaves out.
    """

    def __init__(self, *, users_before: int = 0, payments_before: int = 0) -> None:
        self.users_before = users_before
        self.payments_before = payments_before
        self.users: dict[int, User] = {}
        self.payments: dict[int, Payment] = {}
        self.journal: list[Entry] = []
        self.log: list[tuple[str, str]] = []
        self.counters: Counter[str] = Counter()

    # --- money ---

    def balance(self, user_id: int) -> int:
        """A user's balance, in minor units."""
        return -sum(entry.customer for entry in self.journal if entry.user_id == user_id)

    def held(self, user_id: int) -> int:
        """The amount that is held for the user's open withdrawals, in minor units."""
        return sum(payment.total for payment in self._under_way(user_id, "withdraw"))

    def available(self, user_id: int) -> int:
        """The amount that a withdrawal may use, in minor units."""
        return self.balance(user_id) - self.held(user_id)

    def pending(self, user_id: int) -> int:
        """The amount that the user's open deposits would credit, in minor units."""
        return sum(payment.net for payment in self._under_way(user_id, "deposit"))

    def room(self, user_id: int) -> int:
        """The amount that may still be deposited, if all open deposits succeed, in minor units."""
        return BALANCE_MOST - self.balance(user_id) - self.pending(user_id)

    # --- the log ---

    def version(self, stream: str) -> int:
        """The number of events of a stream."""
        return sum(event[0] == stream for event in self.log)

    def position(self, stream: str) -> int:
        """The position of a stream's last event in the log."""
        return max(place for place, event in enumerate(self.log, start=1) if event[0] == stream)

    @property
    def next_user_id(self) -> int:
        """The id that the next user gets."""
        return self.users_before + len(self.users) + 1

    @property
    def next_sequence(self) -> int:
        """The number of the next payment among all payments, from 0, with those of gaps."""
        return self.payments_before + len(self.payments)

    def next_payment_id(self, user_id: int) -> int:
        """The id that the user's next payment gets."""
        return 1024 * self.next_sequence + (user_id - 1) % 1024 + 1

    # --- reads ---

    def status(self, payment_id: int) -> dict[str, Any]:
        """A payment as its client sees it."""
        payment = self.payments[payment_id]
        return {
            "status": CLIENTS_WORDS.get(payment.state, payment.state),
            "attempts": payment.attempts_in_all,
            "last_error": payment.last_error,
            "next_call_known": payment.next_call_known,
        }

    def letters(self) -> dict[int, dict[str, Any]]:
        """The dead letters, by payment."""
        return {
            payment.payment_id: {
                "position": payment.letter_position,
                "state": payment.letter,
                "error": payment.letter_error,
                "attempts": payment.letter_attempts,
            }
            for payment in self.payments.values()
            if payment.letter is not None
        }

    def _under_way(self, user_id: int, kind: str) -> list[Payment]:
        mine = [payment for payment in self.payments.values() if (payment.user_id, payment.kind) == (user_id, kind)]
        return [payment for payment in mine if payment.under_way]
