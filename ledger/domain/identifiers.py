"""How users and payments are numbered, how their streams are named, and what a key of a request or a call looks like.

A slot, `(id - 1) mod 1024`, ties a payment to its account: both have the same one. So a store can be split by slot
over several partitions without renaming a user or a payment. The head of the log counts accounts and payments; the
counter of payments, n from 0, becomes an id by `payment_id(n, account_id)`.
"""

import re
from typing import Final

from msgspec import Struct

from ledger.domain.money import EXACT_MAX

SLOTS: Final = 1024
"""How many slots there are; a ledger can have that many partitions at most."""

ID_MAX: Final = EXACT_MAX
"""The largest id that JavaScript can read exactly."""


SEQUENCE_MAX: Final = ID_MAX // SLOTS - 1
"""The largest number of a payment: its id fits in every slot."""

LEDGER_STREAM: Final = "ledger"
"""The stream of the ledger's own events, which are about no account and no payment."""

OPERATION_STREAM: Final = "operation"
"""The stream of the changes that operators and the circuit breaker make to a whole gateway."""


class Slots(Struct, frozen=True):
    """The slots of partition `number` of `count`: those whose remainder by `count`, a power of two, is `number`."""

    number: int
    count: int

    def __post_init__(self) -> None:
        """Refuse a number and a count that would give a slot to two partitions, or to none."""
        assert self.count.bit_count() == 1, self.count
        assert 0 <= self.number < self.count <= SLOTS, self

    def __contains__(self, identifier: int) -> bool:
        """Whether an account or a payment belongs to the partition."""
        return slot(identifier) % self.count == self.number

    @property
    def first_account_id(self) -> int:
        """The id of the partition's first account."""
        return self.number + 1

    def account_id_after(self, account_id: int) -> int:
        """The id of the partition's next account."""
        assert account_id in self, (account_id, self)
        return account_id + self.count


ALL_SLOTS: Final = Slots(0, 1)
"""The slots of a ledger with a single partition."""


def slot(identifier: int) -> int:
    """The slot of an account or a payment, from 0 to 1023."""
    return (identifier - 1) % SLOTS


def payment_id(sequence: int, account_id: int) -> int:
    """The id of the payment that the log's head counts as `sequence`, from 0, for an account."""
    return SLOTS * sequence + slot(account_id) + 1


def account_stream(account_id: int) -> str:
    """The name of an account's stream of events, such as `account-1`."""
    return f"account-{account_id}"


def payment_stream(payment_id: int) -> str:
    """The name of a payment's stream of events, such as `payment-1025`."""
    return f"payment-{payment_id}"


def payment_scope(account_id: int) -> str:
    """The scope of the idempotency keys of an account's payments: the user."""
    return f"user-{account_id}"


def opening_scope(caller: str) -> str:
    """The scope of the idempotency keys of opened accounts: the caller, never a user."""
    return f"caller-{caller}"


def decision_scope(payment_id: int) -> str:
    """Return the owner of the idempotency keys of decisions about a payment: the payment, by the name of its stream."""
    return payment_stream(payment_id)


FINGERPRINT_VERSION: Final = 1

IDEMPOTENCY_KEY_CHARACTERS: Final = "[!-~](?:[ -~]{0,253}[!-~])?"
"""The pattern of an idempotency key: 1 to 255 printable ASCII characters, with no space at either end."""

_IDEMPOTENCY_KEY: Final = re.compile(IDEMPOTENCY_KEY_CHARACTERS)


def is_idempotency_key(key: str) -> bool:
    """Tell whether a text can be a client's idempotency key."""
    return _IDEMPOTENCY_KEY.fullmatch(key) is not None


def opening_fingerprint(opening_minor: int, currency: str) -> str:
    """Return the request for an account in its shortest form, by version 1 of the rule."""
    return f"open/{opening_minor}/{currency}"


def payment_fingerprint(kind: str, account_id: int, amount_minor: int) -> str:
    """Return the request for a payment in its shortest form, by version 1 of the rule."""
    return f"{kind}/{account_id}/{amount_minor}"


def requeue_fingerprint(payment_id: int) -> str:
    """Return the request to send a payment to the gateway again in its shortest form, by version 1 of the rule."""
    return f"requeue/{payment_id}"


def resolution_fingerprint(payment_id: int, outcome: str, gateway_key: str = "") -> str:
    """Return the request to resolve a payment in its shortest form, by version 1 of the rule."""
    return f"resolve/{payment_id}/{outcome}" + _named(gateway_key)


def adjustment_fingerprint(payment_id: int, against: str, direction: str, amount_minor: int, gateway_key: str) -> str:
    """Return the request to adjust a payment in its shortest form, by version 1 of the rule."""
    return f"adjust/{payment_id}/{against}/{direction}/{amount_minor}" + _named(gateway_key)


def _named(gateway_key: str) -> str:
    return f"/{gateway_key}" if gateway_key else ""


def stream_id(stream: str) -> int:
    """The account's or payment's id in the name of its stream.

    Raises ValueError for a name of another form.
    """
    kind, _, digits = stream.partition("-")
    if kind not in {"account", "payment"} or not digits.isascii() or not digits.isdigit():
        raise ValueError(stream)
    return int(digits)


def gateway_key(payment_id: int, series: int, salt: str = "") -> str:
    """The idempotency key under which a series of attempts calls the gateway: `payment-7_<salt>`, `payment-7-2_<salt>`.

    The `salt`, 16 hexadecimal digits at random, makes the key unique in the world: every ledger has a payment 7. It is
    the payment's for good. Payments of an earlier version have none.
    """
    assert series >= 1, series
    name = f"payment-{payment_id}" if series == 1 else f"payment-{payment_id}-{series}"
    return f"{name}_{salt}" if salt else name


def is_gateway_key(key: str, *, payment_id: int, series: int) -> bool:
    """Tell whether a payment may have given a key to the gateway in a series or in one before it."""
    name, mark, salt = key.partition("_")
    if mark and re.fullmatch("[0-9a-f]{16}", salt) is None:
        return False
    if name == gateway_key(payment_id, 1):
        return True
    own, _, number = name.rpartition("-")
    return own == gateway_key(payment_id, 1) and number in map(str, range(2, series + 1))


def salt_of(key: str) -> str:
    """The salt of a gateway key, which all keys of a payment share; empty for a key without one."""
    return key.partition("_")[2]


def without_salt(key: str) -> str:
    """The part of a gateway key that is the same in every ledger, such as `payment-7-2`."""
    return key.partition("_")[0]
