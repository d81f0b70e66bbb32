"""How users and payments are numbered, and how their streams are named.

A slot, `(id - 1) mod 1024`, ties a payment to its account: both have the same one. A store may so be split by slot
over several partitions without renaming anybody. The head of the log counts accounts and payments; the counter of
payments, n from 0, becomes an id by `payment_id(n, account_id)`.
"""

from typing import Final

SLOTS: Final = 1024
ID_MAX: Final = 2**53 - 1
"""The largest id that JavaScript can read exactly."""


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
    """Whom the idempotency keys of an account's payments belong to: they are the user's own."""
    return f"user-{account_id}"


def opening_scope(caller: str) -> str:
    """Whom the idempotency keys of opened accounts belong to: the caller, by whatever name, and never a user."""
    return f"caller-{caller}"


def stream_id(stream: str) -> int:
    """The account's or payment's id in the name of its stream.

    Raises ValueError for a name that is no stream of ours.
    """
    kind, _, digits = stream.partition("-")
    if kind not in {"account", "payment"} or not digits.isascii() or not digits.isdigit():
        raise ValueError(stream)
    return int(digits)


def gateway_key(payment_id: int, series: int) -> str:
    """The idempotency key under which a series of attempts calls the gateway: `payment-7`, then `payment-7-2`."""
    return f"payment-{payment_id}" if series == 1 else f"payment-{payment_id}-{series}"
