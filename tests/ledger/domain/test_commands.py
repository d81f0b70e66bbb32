"""Each command declares the streams and the idempotency key that the writer looks up for it."""

from decimal import Decimal
from typing import get_args

import pytest

from ledger.domain.commands import (
    AdjustPayment,
    AnyCommand,
    InquireAfter,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    ScopedKey,
    Succeed,
)

OPEN = OpenAccount(command_id="c", opening=Decimal(1), currency="USD", caller="shop", idempotency_key="k")
DEPOSIT = RequestDeposit(command_id="c", account_id=3, amount=Decimal(1), fee_rate_ppm=0, idempotency_key="k")
WITHDRAWAL = RequestWithdrawal(command_id="c", account_id=3, amount=Decimal(1), fee_rate_ppm=0, idempotency_key="k")
OUTCOME = RecordGatewayOutcome(
    command_id="c",
    payment_id=7,
    account_id=3,
    seen_version=1,
    series=1,
    gateway_key="payment-7",
    attempt=1,
    outcome="approved",
    then=Succeed(),
)
INQUIRY = RecordInquiry(
    command_id="c",
    payment_id=7,
    account_id=3,
    seen_version=1,
    series=1,
    gateway_key="payment-7",
    inquiry=1,
    answer="no_clear_answer",
    then=InquireAfter(5.0),
)
REQUEUE = RequeuePayment(command_id="c", payment_id=7, why="w", idempotency_key="k")
ADJUST = AdjustPayment(command_id="c", payment_id=7, why="w", against="suspense", idempotency_key="k")
RESOLVE = ResolvePayment(command_id="c", payment_id=7, outcome="failed", why="w", idempotency_key="k")

DECLARED: list[tuple[AnyCommand, set[str], ScopedKey | None]] = [
    (OPEN, set(), ("caller-shop", "k")),
    (DEPOSIT, {"account-3"}, ("user-3", "k")),
    (WITHDRAWAL, {"account-3"}, ("user-3", "k")),
    (OUTCOME, {"account-3", "payment-7"}, None),
    (INQUIRY, {"account-3", "payment-7"}, None),
    (REQUEUE, {"payment-7"}, ("payment-7", "k")),
    (RESOLVE, {"payment-7"}, ("payment-7", "k")),
    (ADJUST, {"payment-7"}, ("payment-7", "k")),
]


@pytest.mark.parametrize(("command", "streams", "key"), DECLARED, ids=lambda each: type(each).__name__)
def test_a_command_declares_what_is_looked_up_for_it(
    command: AnyCommand, streams: set[str], key: ScopedKey | None
) -> None:
    """The accounts and payments that it names, and the key of its request in the scope of whom it belongs to."""
    assert (streams, key) == (set(command.streams), command.key)


@pytest.mark.parametrize(
    "command",
    [
        OpenAccount(command_id="c", opening=Decimal(1), currency="USD", caller="shop"),
        RequestDeposit(command_id="c", account_id=3, amount=Decimal(1), fee_rate_ppm=0),
        RequestWithdrawal(command_id="c", account_id=3, amount=Decimal(1), fee_rate_ppm=0),
        RequeuePayment(command_id="c", payment_id=7, why="w"),
        ResolvePayment(command_id="c", payment_id=7, outcome="failed", why="w"),
        AdjustPayment(command_id="c", payment_id=7, why="w", against="suspense"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_request_without_a_key_is_looked_for_under_none(command: AnyCommand) -> None:
    """Whom it would belong to does not matter then."""
    assert command.key is None


def test_the_table_has_every_command() -> None:
    """One that is added gets its line above."""
    assert {type(command) for command, _, _ in DECLARED} == set(get_args(AnyCommand))
