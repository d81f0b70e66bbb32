"""A ledger to which a bit of everything has happened, for those who keep, check and copy it."""

from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Final, Literal

from ledger.commands import (
    Fail,
    FollowUp,
    InquireAfter,
    OpenAccount,
    PaymentAcceptance,
    PaymentStanding,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    RetryAfter,
    Succeed,
)
from ledger.writer import Writer

WITHIN_SECONDS: Final = 30.0
EVENTS: Final = 378
"""How many events `fill` makes."""

OPEN_PAYMENTS: Final = 7
"""How many payments `fill` leaves on their way through the gateway."""


class BusyLedger:
    """Sends commands to a writer and waits for their answers."""

    succeed: Final = Succeed()
    fail: Final = Fail()
    retry: Final = RetryAfter(30.0)
    inquire_later: Final = InquireAfter(60.0)

    def __init__(self, writer: Writer) -> None:
        self.writer = writer
        self._versions: dict[int, int] = {}

    def open(self, opening: str = "1000", currency: str = "USD", *, key: str | None = None) -> int:
        command = OpenAccount(
            command_id="open", opening=Decimal(opening), currency=currency, caller="x", idempotency_key=key
        )
        return self.writer.submit(command).result(WITHIN_SECONDS).account_id

    def deposit(self, account_id: int = 1, amount: str = "200", *, key: str | None = None) -> PaymentAcceptance:
        command = RequestDeposit(
            command_id="deposit",
            account_id=account_id,
            amount=Decimal(amount),
            fee_rate_ppm=20_000,
            idempotency_key=key,
        )
        return self._accepted(self.writer.submit(command))

    def withdraw(self, account_id: int = 1, amount: str = "50", *, key: str | None = None) -> PaymentAcceptance:
        command = RequestWithdrawal(
            command_id="withdraw",
            account_id=account_id,
            amount=Decimal(amount),
            fee_rate_ppm=20_000,
            idempotency_key=key,
        )
        return self._accepted(self.writer.submit(command))

    def _accepted(self, future: "Future[PaymentAcceptance]") -> PaymentAcceptance:
        acceptance = future.result(WITHIN_SECONDS)
        self._versions[acceptance.payment_id] = 2 if acceptance.refused else 1
        return acceptance

    def call(
        self,
        payment: PaymentAcceptance,
        outcome: Literal["approved", "declined", "turned_away", "unknown"],
        then: FollowUp,
        *,
        attempt: int = 1,
        series: int = 1,
        key: str | None = None,
    ) -> PaymentStanding:
        """Report a call of the gateway."""
        return self._stood(
            payment.payment_id,
            RecordGatewayOutcome(
                command_id="call",
                **self._about(payment, series, key),
                attempt=attempt,
                outcome=outcome,
                error=None if outcome == "approved" else "gateway_error_502",
                then=then,
            ),
        )

    def inquire(
        self,
        payment: PaymentAcceptance,
        answer: Literal["approved", "declined", "no_clear_answer"],
        then: FollowUp,
        *,
        inquiry: int = 1,
    ) -> PaymentStanding:
        """Report an inquiry."""
        command = RecordInquiry(
            command_id="inquire", **self._about(payment, 1, None), inquiry=inquiry, answer=answer, then=then
        )
        return self._stood(payment.payment_id, command)

    def requeue(self, payment: PaymentAcceptance) -> PaymentStanding:
        return self._stood(payment.payment_id, RequeuePayment(command_id="r", payment_id=payment.payment_id, why="w"))

    def resolve(self, payment: PaymentAcceptance, outcome: Literal["success", "failed"]) -> PaymentStanding:
        command = ResolvePayment(command_id="r", payment_id=payment.payment_id, outcome=outcome, why="w", by="Ada")
        return self._stood(payment.payment_id, command)

    def _about(self, payment: PaymentAcceptance, series: int, key: str | None) -> dict[str, Any]:
        own_key = f"payment-{payment.payment_id}" + ("" if series == 1 else f"-{series}")
        return {
            "payment_id": payment.payment_id,
            "account_id": payment.account_id,
            "seen_version": self._versions[payment.payment_id],
            "series": series,
            "gateway_key": key or own_key,
        }

    def _stood(self, payment_id: int, command: Any) -> PaymentStanding:
        standing: PaymentStanding = self.writer.submit(command).result(WITHIN_SECONDS)
        self._versions[payment_id] = standing.version
        return standing


def fill(writer: Writer) -> BusyLedger:
    """Let something of every kind happen, and leave OPEN_PAYMENTS on their way, each at another place of it."""
    ledger = BusyLedger(writer)
    for number in range(3):
        ledger.open(key=f"account {number}")
    ledger.open("5000", "JPY")
    ledger.withdraw(4, "9000", key="too much")
    # ended, each in a way of its own
    ledger.call(ledger.deposit(1, key="approved"), "approved", Succeed())
    ledger.call(ledger.withdraw(1, key="paid out"), "approved", Succeed())
    ledger.call(ledger.withdraw(1), "declined", Fail())
    asked = ledger.withdraw(2)
    ledger.call(asked, "unknown", RetryAfter(0.5))
    ledger.call(asked, "turned_away", InquireAfter(0.5), attempt=2)
    ledger.inquire(asked, "approved", Succeed())
    # dead letters that were dealt with
    doubtful = ledger.withdraw(2, "30")
    ledger.call(doubtful, "unknown", InquireAfter(5.0))
    ledger.inquire(doubtful, "no_clear_answer", InquireAfter(5.0))
    ledger.resolve(doubtful, "failed")
    contradicted = ledger.withdraw(3, "20")
    ledger.call(contradicted, "declined", Fail())
    ledger.call(contradicted, "approved", Succeed())
    ledger.resolve(contradicted, "success")
    requeued = ledger.withdraw(3, "10")
    ledger.call(requeued, "declined", Fail())
    ledger.requeue(requeued)
    ledger.call(requeued, "approved", Succeed(), series=2)
    # on their way
    ledger.deposit(1, "1", key="new")
    ledger.withdraw(1, "2")
    retried = ledger.withdraw(2, "3")
    ledger.call(retried, "unknown", RetryAfter(30.0))
    late = ledger.deposit(2, "4")
    ledger.call(late, "turned_away", RetryAfter(3_600.0))
    inquired = ledger.deposit(3, "5")
    ledger.call(inquired, "unknown", InquireAfter(60.0))
    parked = ledger.withdraw(3, "6")
    ledger.call(parked, "unknown", InquireAfter(5.0))
    ledger.inquire(parked, "no_clear_answer", InquireAfter(5.0))
    ledger.inquire(parked, "no_clear_answer", InquireAfter(50.0), inquiry=2)
    again = ledger.withdraw(4, "70")
    ledger.call(again, "declined", Fail())
    ledger.requeue(again)
    ledger.call(again, "approved", Succeed(), key=f"payment-{again.payment_id}")  # of the first series, after all
    # an account with a long life
    longlived = ledger.open("100")
    for payment in [ledger.withdraw(longlived, "0.10") for _ in range(60)]:
        ledger.call(payment, "declined", Fail())
    return ledger
