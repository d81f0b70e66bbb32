"""A ledger with events of every kind, for tests that keep, verify and copy it."""

from concurrent.futures import Future
from decimal import Decimal
from typing import Any, Final, Literal, get_args

from ledger.domain.commands import (
    AdjustPayment,
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
from ledger.domain.events import AdjustedAgainst, GatewayChange, InquiryName
from ledger.domain.kinds import Direction
from ledger.operation.gateway import change_gateway
from ledger.recovery.recover import recover
from ledger.writer.writer import Writer

WITHIN_SECONDS: Final = 30.0
EVENTS: Final = 413
"""How many events `fill` records."""

OPEN_PAYMENTS: Final = 8
"""How many payments `fill` leaves open at the gateway."""

QUEUED: Final = OPEN_PAYMENTS + 1
"""How many entries `fill` leaves in the gateway queue: one is the late inquiry about a payment that has failed."""


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
        """Report the outcome of a call of the gateway."""
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
        answer: InquiryName,
        then: FollowUp,
        *,
        inquiry: int = 1,
        late: bool = False,
    ) -> PaymentStanding:
        """Report the answer to an inquiry."""
        about = self._about(payment, 1, None)
        command = RecordInquiry(command_id="inquire", **about, inquiry=inquiry, answer=answer, then=then, late=late)
        return self._stood(payment.payment_id, command)

    def requeue(
        self, payment: PaymentAcceptance, *, key: str | None = None, ask_first: bool = False
    ) -> PaymentStanding:
        command = RequeuePayment(
            command_id="r", payment_id=payment.payment_id, why="w", ask_first=ask_first, idempotency_key=key
        )
        return self._stood(payment.payment_id, command)

    def adjust(
        self,
        payment: PaymentAcceptance,
        against: AdjustedAgainst,
        *,
        direction: Direction | None = None,
        amount: str | None = None,
        key: str | None = None,
    ) -> PaymentStanding:
        command = AdjustPayment(
            command_id="a",
            payment_id=payment.payment_id,
            against=against,
            direction=direction,
            amount=None if amount is None else Decimal(amount),
            why="w",
            by="Ada",
            idempotency_key=key,
        )
        return self._stood(payment.payment_id, command)

    def resolve(
        self, payment: PaymentAcceptance, outcome: Literal["success", "failed"], *, key: str | None = None
    ) -> PaymentStanding:
        command = ResolvePayment(
            command_id="r", payment_id=payment.payment_id, outcome=outcome, why="w", by="Ada", idempotency_key=key
        )
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
    """Record events of every kind, and leave OPEN_PAYMENTS payments open, each in a different state."""
    ledger = BusyLedger(writer)
    _open_accounts_and_end_payments(ledger)
    # No call is open here, and no number is left out: the accounts and payments that tests name stay the same.
    recover(writer._session._database, why="restored", skip=0)
    for change in get_args(GatewayChange):
        change_gateway(writer._session._database, change, why="an outage", by="operator")
    _leave_payments_open(ledger)
    # an account with many events
    longlived = ledger.open("100")
    for payment in [ledger.withdraw(longlived, "0.10") for _ in range(60)]:
        ledger.call(payment, "declined", Fail())
    return ledger


def _open_accounts_and_end_payments(ledger: BusyLedger) -> None:
    for number in range(3):
        ledger.open(key=f"account {number}")
    ledger.open("5000", "JPY")
    ledger.withdraw(4, "9000", key="too much")
    # payments that ended, each in a different way
    approved = ledger.deposit(1, key="approved")
    ledger.call(approved, "approved", Succeed())
    ledger.call(ledger.withdraw(1, key="paid out"), "approved", Succeed())
    ledger.call(ledger.withdraw(1), "declined", Fail())
    asked = ledger.withdraw(2)
    ledger.call(asked, "unknown", RetryAfter(0.5))
    ledger.call(asked, "turned_away", InquireAfter(0.5), attempt=2)
    ledger.inquire(asked, "approved", Succeed())
    # dead letters that were resolved or requeued
    doubtful = ledger.withdraw(2, "30")
    ledger.call(doubtful, "unknown", InquireAfter(5.0))
    ledger.inquire(doubtful, "no_clear_answer", InquireAfter(5.0))
    ledger.resolve(doubtful, "failed")
    contradicted = ledger.withdraw(3, "20")
    ledger.call(contradicted, "declined", Fail())
    ledger.call(contradicted, "approved", Succeed())
    ledger.resolve(contradicted, "success", key="resolved")
    requeued = ledger.withdraw(3, "10")
    ledger.call(requeued, "declined", Fail())
    ledger.requeue(requeued, key="requeued")
    ledger.call(requeued, "approved", Succeed(), series=2)
    # payments that the gateway did not know, and that it carried out or declined after all
    late = ledger.withdraw(2, "8")
    ledger.call(late, "unknown", InquireAfter(5.0))
    ledger.inquire(late, "not_found", Fail(inquire_after_seconds=3_600.0))
    ledger.inquire(late, "not_found", InquireAfter(86_400.0), late=True)
    ledger.inquire(late, "approved", Succeed(), late=True, inquiry=2)
    ledger.adjust(late, "suspense", key="adjusted")
    never = ledger.deposit(2, "9")
    ledger.call(never, "unknown", InquireAfter(5.0))
    ledger.inquire(never, "not_found", Fail(inquire_after_seconds=3_600.0))
    ledger.inquire(never, "declined", Fail(), late=True)
    ledger.adjust(approved, "account", direction="out", amount="0.50", key="taken back")


def _leave_payments_open(ledger: BusyLedger) -> None:
    """Leave payments open, and one that has failed and is asked about."""
    ledger.deposit(1, "1", key="new")
    ledger.withdraw(1, "2")
    retried = ledger.withdraw(2, "3")
    ledger.call(retried, "unknown", RetryAfter(30.0))
    turned_away = ledger.deposit(2, "4")
    ledger.call(turned_away, "turned_away", RetryAfter(3_600.0))
    inquired = ledger.deposit(3, "5")
    ledger.call(inquired, "unknown", InquireAfter(60.0))
    parked = ledger.withdraw(3, "6")
    ledger.call(parked, "unknown", InquireAfter(5.0))
    ledger.inquire(parked, "no_clear_answer", InquireAfter(5.0))
    ledger.inquire(parked, "no_clear_answer", InquireAfter(50.0), inquiry=2)
    again = ledger.withdraw(4, "70")
    ledger.call(again, "declined", Fail())
    ledger.requeue(again)
    ledger.call(again, "approved", Succeed(), key=f"payment-{again.payment_id}")  # a late success of the first series
    unknown = ledger.withdraw(1, "11")
    ledger.call(unknown, "unknown", InquireAfter(5.0))
    ledger.inquire(unknown, "not_found", Fail(inquire_after_seconds=3_600.0))
    asked_first = ledger.withdraw(1, "12")
    ledger.call(asked_first, "declined", Fail())
    ledger.requeue(asked_first, ask_first=True)
