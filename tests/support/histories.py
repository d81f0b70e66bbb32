"""Histories of the ledger: any events that its rules allow, in order, drawn by Hypothesis or written by hand.

A history is made by deciding commands one by one in memory: likely and unlikely commands, late answers, and operators'
decisions. So a history can contain everything that the rules allow, and nothing else.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final, Literal

from hypothesis import strategies as st
from psycopg import Connection

from ledger.domain.account import Account
from ledger.domain.commands import (
    AdjustPayment,
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
from ledger.domain.decide import decide
from ledger.domain.events import AdjustedAgainst, AnyEvent, InquiryName, Recorded
from ledger.domain.evolve import evolve_account, evolve_payment
from ledger.domain.identifiers import gateway_key
from ledger.domain.kinds import Direction
from ledger.domain.payment import Payment
from ledger.errors import Refusal
from ledger.store.log import SQL as LOG
from ledger.store.log import Head, Row, append
from ledger.store.serialization import decode
from ledger.writer.aggregate_cache import AggregateCache
from ledger.writer.batch_view import BatchView
from projections.contract.log_page import Placed

START: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)

Told = Literal["approved", "declined", "turned_away", "unknown"]

THEN: Final[dict[str, FollowUp]] = {
    "succeed": Succeed(),
    "fail": Fail("gave_up"),
    "fail_asking_late": Fail("gave_up", inquire_after_seconds=3600.0),
    "fail_unasked": Fail("timeout", unasked=True),
    "retry": RetryAfter(1.5),
    "inquire": InquireAfter(5.0),
}


class History:
    """A ledger in memory: its events so far, and the accounts and payments that follow from them."""

    def __init__(self) -> None:
        head = Head(position=0, digest=b"", at=START, next_account_id=1, next_payment_sequence=0)
        self.cache = BatchView(AggregateCache(capacity=1_000_000), head, now=START, keys={})

    # --- commands ---

    def do(self, command: AnyCommand) -> bool:
        """Decide a command one second later. True if it was granted."""
        self.cache.at += timedelta(seconds=1)
        self.cache.now = self.cache.at
        with suppress(Refusal):
            self.cache.apply(command, decide(command, self.cache))
            return True
        return False

    def open(self, opening: str = "1000", currency: str = "USD") -> int:
        """Open an account."""
        assert self.do(OpenAccount(command_id="c", opening=Decimal(opening), currency=currency))
        return self.cache.next_account_id - 1

    def deposit(self, account_id: int, amount: str = "200") -> int:
        """Request a deposit."""
        command = RequestDeposit(command_id="c", account_id=account_id, amount=Decimal(amount), fee_rate_ppm=20_000)
        assert self.do(command)
        return max(payment.payment_id for payment in self.cache.payments.values())

    def withdraw(self, account_id: int, amount: str = "50") -> int:
        """Request a withdrawal."""
        command = RequestWithdrawal(command_id="c", account_id=account_id, amount=Decimal(amount), fee_rate_ppm=20_000)
        assert self.do(command)
        return max(payment.payment_id for payment in self.cache.payments.values())

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
        """Report the outcome of the next call, or of another attempt or series."""
        payment = self.cache.payment(payment_id)
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

    def inquire(self, payment_id: int, answer: InquiryName, then: str, *, late: bool = False) -> bool:
        """Report the answer to an inquiry, or to the late inquiry that is next."""
        payment = self.cache.payment(payment_id)
        return self.do(
            RecordInquiry(
                command_id="c",
                payment_id=payment_id,
                account_id=payment.account_id,
                seen_version=payment.version,
                series=payment.series,
                gateway_key=payment.gateway_key,
                then=THEN[then],
                inquiry=(payment.late_inquiries or 0) + 1 if late else 1,
                answer=answer,
                late=late,
            )
        )

    def requeue(self, payment_id: int, *, ask_first: bool = False) -> bool:
        """Send a failed payment to the gateway again."""
        return self.do(RequeuePayment(command_id="c", payment_id=payment_id, why="tried by hand", ask_first=ask_first))

    def resolve(self, payment_id: int, outcome: Literal["success", "failed"]) -> bool:
        """Close a dead letter; of several contradictions the first."""
        payment = self.cache.payment(payment_id)
        contradictions = payment.unreconciled if payment.letter == "contradicted" else ()
        return self.do(
            ResolvePayment(
                command_id="c",
                payment_id=payment_id,
                outcome=outcome,
                why="seen in the bank",
                gateway_key=contradictions[0] if contradictions else None,
            )
        )

    def adjust(self, payment_id: int, against: AdjustedAgainst, direction: Direction | None = None) -> bool:
        """Book what the gateway did beside a payment's end; of several contradictions it settles the first."""
        contradictions = self.cache.payment(payment_id).unreconciled
        return self.do(
            AdjustPayment(
                command_id="c",
                payment_id=payment_id,
                against=against,
                direction=direction,
                why="seen in the bank",
                gateway_key=contradictions[0] if contradictions else None,
                idempotency_key=f"booked-{len(self.rows)}",
            )
        )

    # --- results ---

    @property
    def rows(self) -> list[Row]:
        """The events as stored rows."""
        return self.cache.rows

    @property
    def events(self) -> list[Placed]:
        """The events with their positions."""
        return placed(self.rows)


PARKED: list[tuple[Any, ...]] = [
    ("attempt", "unknown", "inquire", "timeout"),
    ("inquire", "no_clear_answer", "inquire"),
]
FAILED: list[tuple[Any, ...]] = [("attempt", "declined", "fail", "x")]


def go(history: History, payment_id: int, steps: list[tuple[Any, ...]]) -> None:
    """Take a payment along its way; every step must be granted."""
    for step, *told in steps:
        match step:
            case "attempt":
                done = history.attempt(payment_id, told[0], told[1], error=told[2] if len(told) > 2 else None)
            case "late":
                done = history.attempt(payment_id, "approved", "succeed", series=told[0], attempt=told[1])
            case "inquire":
                done = history.inquire(payment_id, told[0], told[1])
            case "requeue":
                done = history.requeue(payment_id)
            case _:
                done = history.resolve(payment_id, told[0])
        assert done, step


def placed(rows: Sequence[Row]) -> list[Placed]:
    """Decode stored rows, with positions from 1 on."""
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
    """Fold the payments of some events by the ledger's own rules, starting from the payments in `before`."""
    before = before or {}
    payments: dict[int, Payment] = {}
    for _, recorded in events:
        if recorded.originator_id.startswith("payment-"):
            payment_id = int(recorded.originator_id.removeprefix("payment-"))
            known = payments.get(payment_id) or before.get(payment_id)
            payments[payment_id] = evolve_payment(known, _any(recorded))
    return payments


def fold_accounts(events: Sequence[Placed]) -> dict[int, Account]:
    """Fold the accounts of a log by the ledger's own rules."""
    accounts: dict[int, Account] = {}
    for _, recorded in events:
        if recorded.originator_id.startswith("account-"):
            account_id = int(recorded.originator_id.removeprefix("account-"))
            accounts[account_id] = evolve_account(accounts.get(account_id), _any(recorded))
    return accounts


def _any(recorded: Recorded[AnyEvent]) -> Any:
    return recorded


HAPPENINGS: Final = (
    *("attempt", "attempt", "attempt", "late", "late"),
    *("inquiry", "inquiry", "inquiry", "late inquiry", "late inquiry"),
    *("requeue", "requeue", "resolve", "resolve", "adjust"),
)
"""The events that may happen to a payment, as often as they are likely."""

ANSWERS: Final[list[tuple[InquiryName, str]]] = [
    ("approved", "succeed"),
    ("declined", "fail"),
    ("declined", "retry"),
    ("not_found", "fail_asking_late"),
    ("not_found", "fail_asking_late"),
    ("not_found", "retry"),
    ("no_clear_answer", "inquire"),
]
"""Answers to inquiries. A retry follows only from one that is made before a new series calls."""

LATE_ANSWERS: Final[list[tuple[InquiryName, str]]] = [
    ("approved", "succeed"),
    ("declined", "fail"),
    ("not_found", "inquire"),
    ("not_found", "fail"),
    ("no_clear_answer", "inquire"),
]

_CURRENCIES: Final = ("USD", "JPY", "KWD")


@st.composite
def histories(draw: st.DrawFn, *, steps_max: int = 60, adjusts: bool = True) -> History:
    """Draw a history: a few accounts and payments, each with many events. Without `adjusts` operators book nothing."""
    history = History()
    history.open(str(draw(st.integers(0, 500))), draw(st.sampled_from(_CURRENCIES)))
    for _ in range(draw(st.integers(1, steps_max))):
        _step(draw, history, adjusts=adjusts)
    return history


def _step(draw: st.DrawFn, history: History, *, adjusts: bool) -> None:
    payments = list(history.cache.payments.values())
    match draw(st.integers(0, 9)):
        case 0:
            history.open(str(draw(st.integers(0, 500))), draw(st.sampled_from(_CURRENCIES)))
        case 1 | 2:
            account_id = draw(st.sampled_from([account.account_id for account in history.cache.accounts.values()]))
            draw(st.sampled_from([history.deposit, history.withdraw]))(account_id, str(draw(st.integers(1, 300))))
        case _:
            if payments:
                _happen(draw, history, draw(st.sampled_from(payments)), adjusts=adjusts)


def _happen(draw: st.DrawFn, history: History, payment: Payment, *, adjusts: bool) -> None:
    """Draw the next event of a payment: mostly a likely one, sometimes one that nobody would expect."""
    then = draw(st.sampled_from(sorted(THEN)))
    told: Told = draw(st.sampled_from(["approved", "declined", "turned_away", "unknown", "unknown"]))
    payment_id = payment.payment_id
    match draw(st.sampled_from(HAPPENINGS)):
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
            answer, follow_up = draw(st.sampled_from(ANSWERS))
            history.inquire(payment_id, answer, follow_up)
        case "late inquiry":
            answer, follow_up = draw(st.sampled_from(LATE_ANSWERS))
            history.inquire(payment_id, answer, follow_up, late=True)
        case "requeue":
            history.requeue(payment_id, ask_first=draw(st.booleans()))
        case "adjust" if adjusts:
            history.adjust(
                payment_id, draw(st.sampled_from(["account", "suspense"])), draw(st.sampled_from([None, "in", "out"]))
            )
        case _:
            history.resolve(payment_id, draw(st.sampled_from(["success", "failed"])))


def cuts(draw: st.DrawFn, events: Sequence[Placed]) -> list[Sequence[Placed]]:
    """Cut a history into pages at random places."""
    places = sorted(draw(st.sets(st.integers(1, max(1, len(events) - 1)), max_size=8)))
    bounds = [0, *places, len(events)]
    return [events[start:end] for start, end in pairwise(bounds) if start < end]
