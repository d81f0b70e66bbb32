"""The kinds of payment, one row each: every difference between a deposit and a withdrawal.

A rule that depends on the kind asks for its row, and no other module of the ledger, the processors or the projections
names a kind. The HTTP contract, the gateway's and the schema's CHECKs spell the names; tests tie them to this table.
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Final, Literal

from msgspec import Struct

PaymentKind = Literal["deposit", "withdraw"]

Direction = Literal["in", "out"]
"""Into the account or out of it."""


class FeeRule(IntEnum):
    """How the fee changes the amount of the account: the fee times this value is added to it."""

    DEDUCTED = -1
    ON_TOP = 1


class Kind(Struct, frozen=True, kw_only=True):
    """A kind of payment.

    A payment that `holds` sets the account's money aside from its request to its end. A pending payment with direction
    `in` counts towards the account's balance limit. `command` requests the payment, and
    `settling_topic` is the event of the account when it succeeds. In the HTTP contract the amount is asked for in
    `request_field`, and an accepted payment shows it in `answer_field`.
    """

    name: PaymentKind
    direction: Direction
    fee: FeeRule
    holds: bool
    command: str
    settling_topic: str
    request_field: str
    answer_field: str


DEPOSIT: Final = Kind(
    name="deposit",
    direction="in",
    fee=FeeRule.DEDUCTED,
    holds=False,
    command="RequestDeposit",
    settling_topic="account.credited",
    request_field="deposit",
    answer_field="deposit",
)
WITHDRAWAL: Final = Kind(
    name="withdraw",
    direction="out",
    fee=FeeRule.ON_TOP,
    holds=True,
    command="RequestWithdrawal",
    settling_topic="account.debited",
    request_field="amount",
    answer_field="withdraw",
)

KINDS: Final[Mapping[PaymentKind, Kind]] = {kind.name: kind for kind in (DEPOSIT, WITHDRAWAL)}
"""Every kind by the name under which its payments are stored."""
