"""Commands for a running writer, its answers, and the queue and log that it stored."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any, TypeVar

import psycopg

from ledger.domain.commands import (
    InquireAfter,
    OpenAccount,
    PaymentAcceptance,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    Succeed,
)
from ledger.errors import WriterStopped
from ledger.store.database import Database
from ledger.writer.writer import Writer

FEE_RATE_PPM = 20_000
WITHIN_SECONDS = 30.0


def opening(amount: str = "1000", **more: Any) -> OpenAccount:
    """A command that opens an account."""
    return OpenAccount(command_id="open", opening=Decimal(amount), currency="USD", **more)


def deposit(amount: str = "200", *, account_id: int = 1, key: str | None = None) -> RequestDeposit:
    """A request for a deposit at two percent."""
    return RequestDeposit(
        command_id="deposit",
        account_id=account_id,
        amount=Decimal(amount),
        fee_rate_ppm=FEE_RATE_PPM,
        idempotency_key=key,
    )


def withdrawal(amount: str = "50", *, account_id: int = 1, key: str | None = None) -> RequestWithdrawal:
    """A request for a withdrawal at two percent."""
    return RequestWithdrawal(
        command_id="withdrawal",
        account_id=account_id,
        amount=Decimal(amount),
        fee_rate_ppm=FEE_RATE_PPM,
        idempotency_key=key,
    )


def outcome(payment_id: int = 1, **changes: Any) -> RecordGatewayOutcome:
    """A report of the first call, by default of its success."""
    facts: dict[str, Any] = {
        "command_id": "outcome",
        "payment_id": payment_id,
        "account_id": 1,
        "seen_version": 1,
        "series": 1,
        "attempt": 1,
        "gateway_key": f"payment-{payment_id}",
        "outcome": "approved",
        "then": Succeed(),
    }
    return RecordGatewayOutcome(**facts | changes)


def inquiry(payment_id: int = 1, **changes: Any) -> RecordInquiry:
    """A report of the first inquiry, by default without a clear answer."""
    facts: dict[str, Any] = {
        "command_id": "inquiry",
        "payment_id": payment_id,
        "account_id": 1,
        "seen_version": 2,
        "series": 1,
        "inquiry": 1,
        "gateway_key": f"payment-{payment_id}",
        "answer": "no_clear_answer",
        "then": InquireAfter(10.0),
    }
    return RecordInquiry(**facts | changes)


T = TypeVar("T")


def answer(future: "Future[T]") -> T:
    """Wait for an answer. Raises the refusal."""
    return future.result(WITHIN_SECONDS)


def given_account(writer: Writer, amount: str = "1000") -> None:
    """Open an account."""
    answer(writer.submit(opening(amount)))


def in_doubt(writer: Writer, request: RequestDeposit | RequestWithdrawal) -> PaymentAcceptance:
    """Request a payment that times out and is parked after an unclear inquiry."""
    payment = answer(writer.submit(request))
    lost = outcome(payment.payment_id, outcome="unknown", error="timeout", then=InquireAfter(5.0))
    answer(writer.submit(lost))
    answer(writer.submit(inquiry(payment.payment_id)))
    return payment


def queue(database: Database) -> list[tuple[Any, ...]]:
    """Read the gateway queue. The last column is the delay from the time of the last batch, in seconds."""
    with closing(database.connect(application="test")) as connection:
        return connection.execute(
            "SELECT payment_id, action, attempt, series, gateway_key, inquiries, unknown, payment_version,"
            " extract(epoch FROM due_at - (SELECT at FROM log_head))::float8 FROM gateway_queue ORDER BY payment_id"
        ).fetchall()


def log_topics(database: Database) -> list[str]:
    """Read the topics of all events, in order."""
    with closing(database.connect(application="test")) as connection:
        return [row[0] for row in connection.execute("SELECT topic FROM events ORDER BY notification_id")]


@contextmanager
def holding_head(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Hold the head lock, as another writer does in the middle of a batch."""
    with closing(database.connect(application="test")) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM log_head FOR UPDATE")
        yield connection


def waiting_for_head(holder: psycopg.Connection[Any]) -> int:
    """Count the sessions that wait for the head lock."""
    query = (
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        " AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'log_head'::regclass)"
    )
    (count,) = holder.execute(query).fetchone() or (0,)
    return int(count)


def answer_or_error(future: "Future[Any]") -> Any:
    """Wait for an answer or a refusal, and return it."""
    return future.exception(WITHIN_SECONDS) or future.result()


def refuses(writer: Writer) -> bool:
    """Whether a writer refuses commands because it has stopped."""
    try:
        writer.submit(deposit(account_id=99))
    except WriterStopped:
        return True
    return False
