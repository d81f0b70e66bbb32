"""The replay: logs that nobody has tampered with and that are wrong all the same, as a mistake of ours would make them.

Each case is a log in few words, a sentence that says what is wrong with it, and where.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from psycopg import Connection

from ledger.audit_findings import Findings
from ledger.audit_replay import Replay
from ledger.audit_seals import SealedRow
from ledger.events import (
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    HoldReleased,
    PaymentContradicted,
    PaymentFailed,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
)
from ledger.mapper import encode
from tests.databases import fresh_ledger

START: Final = datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)


class Log:
    """Writes events as rows, at the next version of their stream, each a second after the one before."""

    def __init__(self) -> None:
        self.rows: list[SealedRow] = []
        self.versions: dict[str, int] = {}
        self.at = START

    def write(self, event: AnyEvent, *, stream: str | None = None, version: int | None = None, later: int = 0) -> None:
        """Write an event into its own stream or another, at the next version or another, so many seconds later."""
        own = "account-1" if event.TOPIC.startswith("account.") else f"payment-{getattr(event, 'payment_id', 0)}"
        stream = stream or own
        self.versions[stream] = version or self.versions.get(stream, 0) + 1
        self.at += timedelta(seconds=later)
        recorded: Recorded[Any] = Recorded(
            originator_id=stream,
            originator_version=self.versions[stream],
            at=self.at,
            command_id="c",
            cause="Test",
            data=event,
        )
        position = len(self.rows) + 1
        self.rows.append(SealedRow(position, stream, recorded.originator_version, event.TOPIC, encode(recorded), b""))


def log(*events: AnyEvent | tuple[AnyEvent, dict[str, Any]]) -> list[SealedRow]:
    written = Log()
    for event in events:
        if isinstance(event, tuple):
            written.write(event[0], **event[1])
        else:
            written.write(event)
    return written.rows


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[Connection[Any]]:
    """A connection to an empty store."""
    with fresh_ledger(postgres_url) as database, closing(database.connect(application="test")) as connection:
        yield connection


@pytest.fixture
def replay(connection: Connection[Any]) -> Replay:
    """A replay of a log that is in memory; the store behind it is empty."""
    return Replay(connection, Findings())


def found(replay: Replay, rows: Sequence[SealedRow]) -> list[tuple[int, str]]:
    replay.page(rows)
    replay.finish()
    return [(error.position, error.what) for error in replay._findings.first]


# --- events in few words ---------------------------------------------------------------------------------------------

PAYMENT: Final[dict[str, Any]] = {
    "payment_id": 1,
    "account_id": 1,
    "kind": "withdraw",
    "amount_minor": 5_000,
    "fee_minor": 100,
    "currency": "USD",
}
DEPOSIT: Final = PAYMENT | {"kind": "deposit"}
MONEY: Final[dict[str, Any]] = {"payment_id": 1, "currency": "USD"}


def opened(minor: int = 100_000, **more: Any) -> AccountOpened:
    facts: dict[str, Any] = {"currency": "USD", "opening_minor": minor}
    return AccountOpened(**facts | more)


def requested(**more: Any) -> PaymentRequested:
    return PaymentRequested(**PAYMENT | {"fee_rate_ppm": 20_000} | more)


def held(**more: Any) -> FundsHeld:
    return FundsHeld(**MONEY | {"amount_minor": 5_100} | more)


def released(**more: Any) -> HoldReleased:
    return HoldReleased(**MONEY | {"amount_minor": 5_100} | more)


def credited(**more: Any) -> AccountCredited:
    return AccountCredited(**MONEY | {"gross_minor": 5_000, "fee_minor": 100, "net_minor": 4_900} | more)


def debited(**more: Any) -> AccountDebited:
    facts = {"gross_minor": 5_000, "fee_minor": 100, "total_minor": 5_100, "held_minor": 5_100}
    return AccountDebited(**MONEY | facts | more)


def attempted(**more: Any) -> GatewayAttempted:
    facts: dict[str, Any] = {"payment_id": 1, "series": 1, "attempt": 1, "gateway_key": "payment-1"}
    return GatewayAttempted(**facts | {"outcome": "turned_away", "retry_at": START} | more)


def succeeded(**more: Any) -> PaymentSucceeded:
    return PaymentSucceeded(**PAYMENT | {"series": 1, "ended_by": "gateway"} | more)


def failed(**more: Any) -> PaymentFailed:
    return PaymentFailed(**PAYMENT | {"series": 1, "ended_by": "gateway", "reason": "declined"} | more)


def requeued(**more: Any) -> PaymentRequeued:
    return PaymentRequeued(**PAYMENT | {"series": 2, "gateway_key": "payment-1-2", "why": "x"} | more)


def parked() -> PaymentParked:
    return PaymentParked(payment_id=1, series=1, reason="timeout")


WITHDRAWAL: Final = (opened(), requested(), held())
PAID_OUT: Final = (*WITHDRAWAL, attempted(), succeeded(), debited())
GIVEN_BACK: Final = (*WITHDRAWAL, attempted(), failed(), released())
DEPOSITED: Final = (opened(), requested(kind="deposit"), succeeded(kind="deposit"), credited())


def contradicted() -> PaymentContradicted:
    return PaymentContradicted(payment_id=1, series=1, gateway_key="payment-1")


def resolved() -> PaymentResolved:
    return PaymentResolved(payment_id=1, outcome="success", why="x")


@pytest.mark.parametrize(
    "events",
    [
        WITHDRAWAL,
        PAID_OUT,
        GIVEN_BACK,
        DEPOSITED,
        (opened(0), requested(), failed(ended_by="request")),
        (*WITHDRAWAL, attempted(retry_at=None, inquire_at=START), parked(), contradicted()),
        (*WITHDRAWAL, attempted(), attempted(attempt=1, late=True, outcome="approved"), succeeded(), debited()),
        (*GIVEN_BACK, requeued(), held(), attempted(series=2), succeeded(series=2), debited()),
        (*GIVEN_BACK, contradicted(), resolved(), succeeded(ended_by="reconciliation"), debited(held_minor=0)),
    ],
)
def test_what_is_right_is_found_right(replay: Replay, events: Sequence[AnyEvent]) -> None:
    """The ways that a payment may go."""
    assert found(replay, log(*events)) == []


@pytest.mark.parametrize(
    ("events", "position", "what"),
    [
        # places
        ((opened(), (opened(), {"version": 3})), 2, "version 3 of account-1 follows version 1"),
        ((opened(), (opened(), {"version": 1})), 2, "version 1 of account-1 follows version 1"),
        (((held(), {}),), 1, "account.funds_held is version 1 of account-1"),
        ((opened(), opened()), 2, "account.opened is version 2 of account-1"),
        (((succeeded(), {}),), 1, "payment.succeeded is version 1 of payment-1"),
        ((opened(), requested(), requested()), 3, "payment.requested is version 2 of payment-1"),
        (((opened(), {"stream": "account-01"}),), 1, "account.opened stands in the stream 'account-01'"),
        (((opened(), {"stream": "payment-1"}),), 1, "account.opened stands in the stream 'payment-1'"),
        (((opened(), {"stream": "nobody"}),), 1, "account.opened stands in the stream 'nobody'"),
        ((opened(), (requested(), {"stream": "payment-2"})), 2, "payment.requested stands in the stream 'payment-2'"),
        ((opened(), (requested(), {"later": -1})), 2, "the event is of 2026-01-02 03:04:04.678901+00:00, earlier than"),
        # counters
        (((opened(), {"stream": "account-2"}),), 1, "account-2 is opened where account-1 is the next"),
        (
            (opened(), requested(payment_id=1025, kind="deposit")),
            2,
            "payment 1025 is requested where 1 is the next",
        ),
        ((requested(kind="deposit"),), 1, "there is no account 1 in USD"),
        ((opened(), requested(kind="deposit", currency="EUR")), 2, "there is no account 1 in EUR"),
        # accounts
        ((opened(-1),), 1, "it leaves -1 in account-1, of which 0 are held"),
        ((opened(2**53),), 1, "it leaves 9007199254740992 in account-1, of which 0 are held"),
        ((opened(5_000), requested(), held()), 3, "it leaves 5000 in account-1, of which 5100 are held"),
        (
            (*WITHDRAWAL, attempted(), failed(), released(), released()),
            7,
            "it leaves 100000 in account-1, of which -510",
        ),
        # amounts
        ((opened(), requested(amount_minor=0)), 2, "its amount is 0 and its fee 100"),
        ((opened(), requested(fee_minor=-1)), 2, "its amount is 5000 and its fee -1"),
        ((opened(), requested(fee_minor=5_001)), 2, "its amount is 5000 and its fee 5001"),
        # what may follow what
        ((*PAID_OUT, succeeded()), 7, "it cannot happen to a payment that is succeeded"),
        ((*PAID_OUT, failed()), 7, "it cannot happen to a payment that is succeeded"),
        ((*GIVEN_BACK, failed()), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, succeeded()), 7, "it cannot happen to a payment that is failed"),
        ((*PAID_OUT, succeeded(ended_by="reconciliation")), 7, "it cannot happen to a payment that is succeeded"),
        ((*GIVEN_BACK, succeeded(ended_by="reconciliation", series=2)), 7, "it cannot happen to a payment"),
        ((*WITHDRAWAL, succeeded(series=2)), 4, "it cannot happen to a payment that is new"),
        ((*WITHDRAWAL, failed(series=0)), 4, "it cannot happen to a payment that is new"),
        ((*WITHDRAWAL, requeued()), 4, "it cannot happen to a payment that is new"),
        ((*GIVEN_BACK, requeued(series=3)), 7, "it cannot happen to a payment that is failed"),
        ((*PAID_OUT, attempted(attempt=2)), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, attempted(attempt=2)), 4, "it cannot happen to a payment that is new"),
        ((*WITHDRAWAL, attempted(series=2)), 4, "it cannot happen to a payment that is new"),
        ((*PAID_OUT, parked()), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, succeeded(amount_minor=4_999)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(fee_minor=99)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(account_id=2)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(kind="deposit")), 4, "it is about another payment than the one"),
        ((*GIVEN_BACK, requeued(currency="EUR")), 7, "it is about another payment than the one"),
        # what a payment does to its account
        ((opened(), requested()), 2, "account.funds_held of account-1, asked for by payment-1, is missing"),
        (
            (opened(), requested(), attempted()),
            2,
            "account.funds_held of account-1, asked for by payment-1, is missing",
        ),
        ((*WITHDRAWAL, succeeded()), 4, "account.debited of account-1, asked for by payment-1, is missing"),
        ((*WITHDRAWAL, failed()), 4, "account.hold_released of account-1, asked for by payment-1, is missing"),
        ((*GIVEN_BACK, requeued()), 7, "account.funds_held of account-1, asked for by payment-1, is missing"),
        (DEPOSITED[:3], 3, "account.credited of account-1, asked for by payment-1, is missing"),
        ((*WITHDRAWAL, failed(ended_by="request")), 4, "payment-1 is refused for want of money after it had it"),
        ((opened(), requested(), held(amount_minor=5_099)), 3, "this is not what payment-1 asks for at position 2"),
        ((opened(), requested(), held(currency="EUR")), 3, "this is not what payment-1 asks for at position 2"),
        ((opened(), requested(), (held(), {"later": 1})), 3, "this is not what payment-1 asks for at position 2"),
        ((*DEPOSITED[:3], credited(net_minor=4_901)), 4, "this is not what payment-1 asks for at position 3"),
        ((opened(), credited()), 2, "no event of payment-1 asks for this"),
        ((*WITHDRAWAL, succeeded(), debited(held_minor=0)), 5, "this is not what payment-1 asks for at position 4"),
        ((*WITHDRAWAL, succeeded(), released()), 5, "this is not what payment-1 asks for at position 4"),
        ((*PAID_OUT, debited(held_minor=0)), 7, "no event of payment-1 asks for this"),
        ((*DEPOSITED, credited()), 5, "no event of payment-1 asks for this"),
        ((*WITHDRAWAL, held()), 4, "no event of payment-1 asks for this"),
        # what comes next
        ((*WITHDRAWAL, attempted(retry_at=None)), 4, "payment-1 is open, and no event says what is next"),
    ],
)
def test_what_is_wrong_is_named(
    replay: Replay, events: Sequence[AnyEvent | tuple[AnyEvent, dict[str, Any]]], position: int, what: str
) -> None:
    """At its position, and before all that may follow from it."""
    first = found(replay, log(*events))[0]

    assert (first[0], first[1][: len(what)]) == (position, what)


def test_a_hold_on_another_account_is_found(replay: Replay) -> None:
    """To the cent the right amount, and not the right customer's."""
    rows = log(opened(), (opened(), {"stream": "account-2"}), requested(), (held(), {"stream": "account-2"}))

    assert found(replay, rows) == [(4, "this is not what payment-1 asks for at position 3")]


def test_an_event_whose_time_has_no_offset_is_found(replay: Replay) -> None:
    """It cannot be told when it was."""
    rows = log(opened())
    state = rows[0].state.replace(b'Z"', b'"')

    assert found(replay, [rows[0]._replace(state=state)]) == [(1, "the event's time has no offset")]


def test_an_event_that_cannot_be_read_is_found_and_its_stream_is_left_alone(replay: Replay) -> None:
    """What follows in the stream could be wrong by it, and so is not said to be; nor what it does to the account."""
    rows = log(*PAID_OUT)
    rows[3] = rows[3]._replace(topic="payment.unheard_of")

    errors = found(replay, rows)

    assert [position for position, _ in errors] == [4]
    assert errors[0][1].startswith("the event cannot be read: ")
    assert replay.is_lost("payment-1")
    assert not replay.is_lost("account-1")


def test_an_account_that_is_lost_is_asked_for_nothing(replay: Replay) -> None:
    """Its payments are not to blame."""
    rows = log(opened(-1), requested(), held(), attempted(), succeeded(), debited(), requested(payment_id=1025), held())

    assert [position for position, _ in found(replay, rows)] == [1]


def test_what_a_payment_asks_of_an_account_that_gets_lost_is_not_missing(replay: Replay) -> None:
    """The account's event is the one that is wrong."""
    rows = log(opened(5_000), requested(), held())

    assert [position for position, _ in found(replay, rows)] == [3]
