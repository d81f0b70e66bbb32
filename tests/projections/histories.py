"""Histories of the ledger: whatever its rules let happen, as events in order, drawn by Hypothesis or written by hand.

A history is made by deciding commands, the likely and the unlikely, late answers and operators' decisions among them,
one after the other on books in memory. So everything that the rules allow can come up, and nothing else.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal

from hypothesis import strategies as st
from psycopg import Connection

import ledger.account
import ledger.payment
from ledger.account import Account
from ledger.books import BatchBooks, Books
from ledger.commands import (
    AnyCommand,
    Fail,
    FollowUp,
    InquireAfter,
    OpenAccount,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    RetryAfter,
    Succeed,
)
from ledger.decisions import decide
from ledger.errors import Refusal
from ledger.events import AnyEvent, Recorded
from ledger.identifiers import gateway_key
from ledger.log import SQL as LOG
from ledger.log import Head, Row, append
from ledger.mapper import decode
from ledger.payment import Payment
from projections.page import Placed

START: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)

Told = Literal["approved", "declined", "turned_away", "unknown"]

THEN: Final[dict[str, FollowUp]] = {
    "succeed": Succeed(),
    "fail": Fail("gave_up"),
    "fail_unasked": Fail("timeout", unasked=True),
    "retry": RetryAfter(1.5),
    "inquire": InquireAfter(5.0),
}


class History:
    """A ledger that exists in memory alone: its events so far, and the books that they have led to."""

    def __init__(self) -> None:
        head = Head(position=0, digest=b"", at=START, next_account_id=1, next_payment_sequence=0)
        self.books = BatchBooks(Books(capacity=1_000_000), head, at=START, keys={})

    # --- what can be done ---

    def do(self, command: AnyCommand) -> bool:
        """Decide a command at the next second; tell whether it was granted."""
        self.books.at += timedelta(seconds=1)
        with suppress(Refusal):
            self.books.apply(command, decide(command, self.books))
            return True
        return False

    def open(self, opening: str = "1000", currency: str = "USD") -> int:
        """Open an account."""
        assert self.do(OpenAccount(command_id="c", opening=Decimal(opening), currency=currency))
        return self.books.next_account_id - 1

    def deposit(self, account_id: int, amount: str = "200") -> int:
        """Request a deposit."""
        command = RequestDeposit(command_id="c", account_id=account_id, amount=Decimal(amount), fee_rate_ppm=20_000)
        assert self.do(command)
        return max(payment.payment_id for payment in self.books.payments.values())

    def withdraw(self, account_id: int, amount: str = "50") -> int:
        """Request a withdrawal."""
        command = RequestWithdrawal(command_id="c", account_id=account_id, amount=Decimal(amount), fee_rate_ppm=20_000)
        assert self.do(command)
        return max(payment.payment_id for payment in self.books.payments.values())

    def attempt(
        self,
        payment_id: int,
        outcome: Told,
        then: str,
        *,
        error: str | None = None,
        series: int | None = None,
        attempt: int | None = None,
    ) -> bool:
        """Report the next call's outcome, or that of another attempt or series."""
        payment = self.books.payment(payment_id)
        earlier = None if series in {None, payment.series} else series
        return self.do(
            RecordGatewayOutcome(
                command_id="c",
                payment_id=payment_id,
                account_id=payment.account_id,
                seen_version=payment.version,
                series=series or payment.series,
                gateway_key=gateway_key(payment_id, earlier) if earlier else payment.gateway_key,
                error=error,
                then=THEN[then],
                attempt=attempt or payment.attempt + 1,
                outcome=outcome,
            )
        )

    def inquire(self, payment_id: int, answer: Literal["approved", "declined", "no_clear_answer"], then: str) -> bool:
        """Report what an inquiry was answered."""
        payment = self.books.payment(payment_id)
        return self.do(
            RecordInquiry(
                command_id="c",
                payment_id=payment_id,
                account_id=payment.account_id,
                seen_version=payment.version,
                series=payment.series,
                gateway_key=payment.gateway_key,
                then=THEN[then],
                inquiry=1,
                answer=answer,
            )
        )

    def requeue(self, payment_id: int) -> bool:
        """Send a failed payment to the gateway again."""
        return self.do(RequeuePayment(command_id="c", payment_id=payment_id, why="tried by hand"))

    def resolve(self, payment_id: int, outcome: Literal["success", "failed"]) -> bool:
        """Close a dead letter."""
        return self.do(ResolvePayment(command_id="c", payment_id=payment_id, outcome=outcome, why="seen in the bank"))

    # --- what came of it ---

    @property
    def rows(self) -> list[Row]:
        """The events as they are stored."""
        return self.books.rows

    @property
    def events(self) -> list[Placed]:
        """The events with their positions."""
        return placed(self.rows)


def placed(rows: Sequence[Row]) -> list[Placed]:
    """Read stored rows as they lie in the log, from position 1 on."""
    return [(position, decode(*row)) for position, row in enumerate(rows, start=1)]


def append_rows(connection: Connection[Any], rows: Sequence[Row]) -> None:
    """Append rows to a real log, as the writer does."""
    with connection.transaction():
        row = connection.execute(LOG["lock_head"]).fetchone()
        assert row is not None
        head = Head(*row)
        with connection.pipeline():
            appending = append(connection, head, rows, moved=head)
        appending.check()


def fold_payments(events: Sequence[Placed], before: Mapping[int, Payment] | None = None) -> dict[int, Payment]:
    """Fold the payments that events are about by the ledger's own rules, from what they were before."""
    before = before or {}
    payments: dict[int, Payment] = {}
    for _, recorded in events:
        if recorded.originator_id.startswith("payment-"):
            payment_id = int(recorded.originator_id.removeprefix("payment-"))
            known = payments.get(payment_id) or before.get(payment_id)
            payments[payment_id] = ledger.payment.evolve(known, _any(recorded))
    return payments


def fold_accounts(events: Sequence[Placed]) -> dict[int, Account]:
    """Fold the accounts of a log by the ledger's own rules."""
    accounts: dict[int, Account] = {}
    for _, recorded in events:
        if recorded.originator_id.startswith("account-"):
            account_id = int(recorded.originator_id.removeprefix("account-"))
            accounts[account_id] = ledger.account.evolve(accounts.get(account_id), _any(recorded))
    return accounts


def _any(recorded: Recorded[AnyEvent]) -> Any:
    return recorded


_CURRENCIES: Final = ("USD", "JPY", "KWD")


@st.composite
def histories(draw: st.DrawFn, *, steps_max: int = 60) -> History:
    """Draw a history: a few accounts and payments, with much happening to each of them."""
    history = History()
    history.open(str(draw(st.integers(0, 500))), draw(st.sampled_from(_CURRENCIES)))
    for _ in range(draw(st.integers(1, steps_max))):
        _step(draw, history)
    return history


def _step(draw: st.DrawFn, history: History) -> None:
    payments = list(history.books.payments.values())
    match draw(st.integers(0, 9)):
        case 0:
            history.open(str(draw(st.integers(0, 500))), draw(st.sampled_from(_CURRENCIES)))
        case 1 | 2:
            account_id = draw(st.sampled_from([account.account_id for account in history.books.accounts.values()]))
            draw(st.sampled_from([history.deposit, history.withdraw]))(account_id, str(draw(st.integers(1, 300))))
        case _:
            if payments:
                _happen(draw, history, draw(st.sampled_from(payments)))


def _happen(draw: st.DrawFn, history: History, payment: Payment) -> None:
    """Let something happen to a payment: mostly the next thing on its way, sometimes what nobody would expect."""
    then = draw(st.sampled_from(sorted(THEN)))
    told: Told = draw(st.sampled_from(["approved", "declined", "turned_away", "unknown", "unknown"]))
    payment_id = payment.payment_id
    match draw(st.sampled_from(["attempt", "attempt", "late", "inquiry", "inquiry", "requeue", "resolve"])):
        case "attempt":
            error = (
                None if told == "approved" else draw(st.sampled_from(["timeout", "gateway_error_502", "n\0l", None]))
            )
            history.attempt(payment_id, told, "succeed" if told == "approved" else then, error=error)
        case "late":
            series = draw(st.integers(1, payment.series))
            attempt = draw(st.integers(1, max(1, payment.attempt)))
            history.attempt(payment_id, "approved", "succeed", series=series, attempt=attempt)
        case "inquiry":
            answer, follow_up = draw(
                st.sampled_from([("approved", "succeed"), ("declined", "fail"), ("no_clear_answer", "inquire")])
            )
            history.inquire(payment_id, answer, follow_up)  # type: ignore[arg-type]
        case "requeue":
            history.requeue(payment_id)
        case _:
            history.resolve(payment_id, draw(st.sampled_from(["success", "failed"])))


def cuts(draw: st.DrawFn, events: Sequence[Placed]) -> list[Sequence[Placed]]:
    """Cut a history into pages, anywhere."""
    places = sorted(draw(st.sets(st.integers(1, max(1, len(events) - 1)), max_size=8)))
    bounds = [0, *places, len(events)]
    return [events[start:end] for start, end in pairwise(bounds) if start < end]
