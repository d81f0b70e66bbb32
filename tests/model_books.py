"""What the model ledger remembers: users, payments, the journal, the log; and everything that can be counted from them.

Nothing is kept here that can be counted. A balance is the sum of the journal's postings, what is held is the sum of the
withdrawals under way, what is pending the sum of the deposits under way, and a version is the number of events of a
stream. So the model has no second truth that could drift in the same way as the one it is held against.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

BALANCE_MOST: Final = 2**53 - 1

UNDER_WAY: Final = {"new", "processing", "in_doubt"}
CLIENTS_WORDS: Final = {"in_doubt": "processing", "succeeded": "success"}


@dataclass(frozen=True)
class User:
    """A user, with what he had from the start, in minor units."""

    user_id: int
    currency: str
    opening: int


@dataclass(frozen=True)
class Entry:
    """One entry of the books: what it posts to each of the four accounts. Debits are positive, credits negative."""

    position: int
    user_id: int
    payment_id: int | None
    currency: str
    customer: int
    gateway_clearing: int
    fee_revenue: int
    opening_equity: int


@dataclass
class Payment:
    """A payment. Each of its series of attempts has its gateway key in `gateway_keys`; a key may serve several.

    `attempts` are those of the series under way, `attempt_error` is what went wrong with the last of them, and
    `maybe_moved` says that a call under its key may have moved the money. Of the keys in `moved` it is known that the
    money was moved under them; `contradictions` are those of which that came out when they had been given up, in the
    order in which it did, and that no operator has dealt with yet. `next_call` is what the gateway is to hear next.
    `closed` says that an operator has ended the payment or put its failure away.
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
    maybe_moved: bool = False
    failed_unasked: bool = False
    refused_at_once: bool = False
    closed: bool = False
    moved: set[str] = field(default_factory=set)
    contradictions: list[str] = field(default_factory=list)
    last_error: str | None = None
    attempt_error: str | None = None
    next_call: str | None = "pay"
    next_call_known: bool = False
    letter_position: int = 0
    letter_error: str = ""
    letter_attempts: int = 0

    @property
    def series(self) -> int:
        """The series under way, or the last one."""
        return len(self.gateway_keys)

    @property
    def gateway_key(self) -> str:
        """The key of that series: what the gateway knows the payment by."""
        return self.gateway_keys[-1]

    @property
    def under_way(self) -> bool:
        """Whether it has no end."""
        return self.state in UNDER_WAY

    @property
    def attempts_in_all(self) -> int:
        """The attempts of all series, as clients see them."""
        return self.attempts_before + self.attempts

    @property
    def total(self) -> int:
        """What a withdrawal takes."""
        return self.amount + self.fee

    @property
    def net(self) -> int:
        """What a deposit brings."""
        return self.amount - self.fee

    @property
    def letter(self) -> str | None:
        """Why an operator has to look at it, if he has to."""
        if self.state == "in_doubt":
            return "in_doubt"
        if self.contradictions and not self.under_way:
            return "reconcile"
        failed_at_the_gateway = self.state == "failed" and not self.refused_at_once and not self.closed
        return "failed" if failed_at_the_gateway else None


class ModelBooks:
    """All that there is. `log` names the recorded events in order, by stream and topic.

    A model may begin in the middle of a ledger's life, when there are `users_before` and `payments_before` already; of
    these it knows nothing, and its log begins with itself.
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
        """What a user owns."""
        return -sum(entry.customer for entry in self.journal if entry.user_id == user_id)

    def held(self, user_id: int) -> int:
        """What is set aside for the user's withdrawals under way."""
        return sum(payment.total for payment in self._under_way(user_id, "withdraw"))

    def available(self, user_id: int) -> int:
        """What a withdrawal may use."""
        return self.balance(user_id) - self.held(user_id)

    def pending(self, user_id: int) -> int:
        """What the user's deposits under way would bring."""
        return sum(payment.net for payment in self._under_way(user_id, "deposit"))

    def room(self, user_id: int) -> int:
        """What the user's account could take in, were all deposits under way to succeed."""
        return BALANCE_MOST - self.balance(user_id) - self.pending(user_id)

    # --- the log ---

    def version(self, stream: str) -> int:
        """How many events a stream has."""
        return sum(event[0] == stream for event in self.log)

    def position(self, stream: str) -> int:
        """The place of a stream's last event in the log."""
        return max(place for place, event in enumerate(self.log, start=1) if event[0] == stream)

    def next_payment_id(self, user_id: int) -> int:
        """The id that the user's next payment gets."""
        return 1024 * (self.payments_before + len(self.payments)) + (user_id - 1) % 1024 + 1

    # --- what is read ---

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
