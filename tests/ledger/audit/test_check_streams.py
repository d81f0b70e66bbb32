"""The audit's replay finds logs with right seals and wrong events, which only a mistake of ours could write.

Each case is a short log, the message about its fault, and the fault's position.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
from psycopg import Connection

from ledger.audit.check_hash_chain import SealedRow
from ledger.audit.check_streams import Replay
from ledger.audit.findings import Findings
from ledger.domain.events import AnyEvent
from tests.support.databases import fresh_ledger
from tests.support.ledgers.written import (
    AGAIN,
    ASKED_FIRST,
    DEPOSITED,
    GIVEN_BACK,
    NOT_FOUND,
    PAID_OUT,
    PARKED,
    SOON,
    WITHDRAWAL,
    account_adjusted,
    adjusted,
    approved,
    attempted,
    contradicted,
    credited,
    debited,
    declined,
    failed,
    held,
    inquired,
    log,
    lost,
    opened,
    parked,
    recovered,
    refused,
    released,
    requested,
    requeued,
    resolved,
    succeeded,
)


@pytest.fixture(scope="module")
def connection(postgres_url: str) -> Iterator[Connection[Any]]:
    """Yield a connection to an empty store."""
    with fresh_ledger(postgres_url) as database, closing(database.connect(application="test")) as connection:
        yield connection


@pytest.fixture
def replay(connection: Connection[Any]) -> Replay:
    """Return a replay of a log in memory, with an empty store behind it."""
    return Replay(connection, Findings())


def found(replay: Replay, rows: Sequence[SealedRow]) -> list[tuple[int, str]]:
    replay.page(rows)
    replay.finish()
    return [(error.position, error.what) for error in replay._findings.first]


@pytest.mark.parametrize(
    "events",
    [
        WITHDRAWAL,
        PAID_OUT,
        GIVEN_BACK,
        DEPOSITED,
        PARKED,
        (opened(0), requested(), refused()),
        (
            *WITHDRAWAL,
            attempted(),
            attempted(attempt=1, late=True, outcome="approved", retry_at=None),
            succeeded(),
            debited(),
        ),
        (
            *WITHDRAWAL,
            lost(),
            inquired("approved", reference="r"),
            succeeded(ended_by="inquiry", reference="r"),
            debited(),
        ),
        (*WITHDRAWAL, lost(), inquired("declined"), failed(ended_by="inquiry"), released()),
        (*PARKED, inquired("approved"), succeeded(ended_by="inquiry"), debited()),
        (*PARKED, resolved(), succeeded(ended_by="resolution"), debited()),
        (*PARKED, resolved("failed"), failed(ended_by="resolution"), released()),
        (*AGAIN, approved(series=2, gateway_key="payment-1-2"), succeeded(series=2), debited()),
        (*AGAIN, contradicted()),
        (
            *GIVEN_BACK,
            requeued(gateway_key="payment-1"),
            held(),
            inquired("approved"),
            succeeded(series=2, ended_by="inquiry"),
            debited(),
        ),
        (*GIVEN_BACK, contradicted(), resolved(), succeeded(ended_by="reconciliation"), debited(held_minor=0)),
        (*GIVEN_BACK, resolved("failed")),
        (*GIVEN_BACK, contradicted(), adjusted(gateway_key="payment-1")),
        (*PAID_OUT, adjusted(against="account", direction="in"), account_adjusted(direction="in")),
        (*NOT_FOUND, inquired("declined", late=True)),
        (
            *NOT_FOUND,
            inquired("not_found", late=True, inquire_at=SOON),
            inquired("approved", late=True),
            (contradicted(), {"cause": "RecordInquiry"}),
        ),
        (*ASKED_FIRST, inquired(series=2), parked(series=2)),
        (*ASKED_FIRST, inquired("approved", series=2), succeeded(series=2, ended_by="inquiry"), debited()),
        (
            *ASKED_FIRST,
            inquired("declined", series=2, call_at=SOON),
            approved(series=2, gateway_key="payment-1-2"),
            succeeded(series=2),
            debited(),
        ),
        (
            *PAID_OUT,
            recovered(),
            (opened(), {"stream": "account-1025"}),
            requested(payment_id=9 * 1024 + 1),
            held(payment_id=9217),
        ),
        (recovered(), recovered(next_account_id=2049)),
    ],
)
def test_a_right_log_has_no_findings(replay: Replay, events: Sequence[AnyEvent]) -> None:
    """These are the possible courses of a payment."""
    assert found(replay, log(*events)) == []


@pytest.mark.parametrize(
    ("events", "position", "what"),
    [
        # streams, versions and times
        ((opened(), (opened(), {"version": 3})), 2, "version 3 of account-1 follows version 1"),
        ((opened(), (opened(), {"version": 1})), 2, "version 1 of account-1 follows version 1"),
        (((held(), {}),), 1, "account.funds_held is version 1 of account-1"),
        ((opened(), opened()), 2, "account.opened is version 2 of account-1"),
        (((succeeded(), {}),), 1, "payment.succeeded is version 1 of payment-1"),
        ((opened(), requested(), requested()), 3, "payment.requested is version 2 of payment-1"),
        (((opened(), {"stream": "account-01"}),), 1, "account.opened is in the stream 'account-01'"),
        (((opened(), {"stream": "payment-1"}),), 1, "account.opened is in the stream 'payment-1'"),
        (((opened(), {"stream": "nobody"}),), 1, "account.opened is in the stream 'nobody'"),
        ((opened(), (requested(), {"stream": "payment-2"})), 2, "payment.requested is in the stream 'payment-2'"),
        ((opened(), (requested(), {"later": -1})), 2, "the event's time 2024-01-02 03:04:04.678901+00:00 is before"),
        # counters
        (((opened(), {"stream": "account-2"}),), 1, "account-2 is opened where account-1 must come next"),
        (
            (opened(), requested(payment_id=1025, kind="deposit")),
            2,
            "payment 1025 is requested where 1 must come next",
        ),
        ((requested(kind="deposit"),), 1, "there is no account 1 in USD"),
        # recoveries
        ((recovered(), opened()), 2, "account-1 is opened where account-1025 must come next"),
        ((opened(), recovered(next_account_id=1)), 2, "ledger.recovered would give numbers a second time"),
        ((*WITHDRAWAL, recovered(next_payment_sequence=0)), 4, "ledger.recovered would give numbers a second time"),
        (((recovered(), {"stream": "account-1"}),), 1, "ledger.recovered is in the stream 'account-1'"),
        ((recovered(), (recovered(), {"version": 3})), 2, "version 3 of ledger follows version 1"),
        ((opened(), requested(kind="deposit", currency="EUR")), 2, "there is no account 1 in EUR"),
        # accounts
        ((opened(5_000), requested(), held()), 3, "it leaves 5000 in account-1, of which 5100 are held"),
        (
            (*GIVEN_BACK, released()),
            7,
            "it leaves 100000 in account-1, of which -510",
        ),
        # allowed transitions
        ((*PAID_OUT, succeeded()), 7, "it cannot happen to a payment that is succeeded"),
        ((*PAID_OUT, failed()), 7, "it cannot happen to a payment that is succeeded"),
        ((*GIVEN_BACK, failed()), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, succeeded()), 7, "it cannot happen to a payment that is failed"),
        ((*PAID_OUT, succeeded(ended_by="reconciliation")), 7, "it cannot happen to a payment that is succeeded"),
        ((*GIVEN_BACK, succeeded(ended_by="reconciliation", series=2)), 7, "it cannot happen to a payment"),
        ((*WITHDRAWAL, approved(), succeeded(series=2)), 5, "it cannot happen to a payment that is processing"),
        ((*WITHDRAWAL, declined(), failed(series=0)), 5, "it cannot happen to a payment that is processing"),
        ((*WITHDRAWAL, requeued()), 4, "it cannot happen to a payment that is new"),
        ((*GIVEN_BACK, requeued(series=3)), 7, "it cannot happen to a payment that is failed"),
        ((*PAID_OUT, attempted(attempt=2)), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, attempted(gateway_key="payment-2")), 4, "it cannot happen to a payment that is new"),
        ((*PARKED, attempted(attempt=2)), 7, "it cannot happen to a payment that is in_doubt"),
        ((*WITHDRAWAL, approved(attempt=1, late=True)), 4, "it cannot happen to a payment that is new"),
        ((*PAID_OUT, approved(late=True)), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, attempted(), declined(late=True)), 5, "it cannot happen to a payment that is processing"),
        ((*WITHDRAWAL, lost(), inquired(gateway_key="payment-1-2")), 5, "it cannot happen to a payment that is proc"),
        ((*WITHDRAWAL, lost(), inquired(series=2)), 5, "it cannot happen to a payment that is processing"),
        ((*PARKED, inquired()), 7, "it cannot happen to a payment that is in_doubt"),
        ((*PAID_OUT, inquired("approved")), 7, "it cannot happen to a payment that is succeeded"),
        ((*PAID_OUT, contradicted()), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, attempted(), contradicted()), 5, "it cannot happen to a payment that is processing"),
        ((*GIVEN_BACK, contradicted(), contradicted()), 8, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, contradicted(gateway_key="payment-9")), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, contradicted(gateway_key="payment-1\r\nX: y")), 7, "it cannot happen to a payment that is"),
        ((*GIVEN_BACK, contradicted(gateway_key="payment-1-2")), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, requeued(gateway_key="payment-1-3")), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, requeued(gateway_key="payment-2")), 7, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, resolved("failed"), requeued()), 8, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, resolved()), 7, "it cannot happen to a payment that is failed"),
        ((*WITHDRAWAL, resolved()), 4, "it cannot happen to a payment that is new"),
        # bookings of what the gateway did beside the payment's end
        ((*WITHDRAWAL, adjusted()), 4, "it cannot happen to a payment that is new"),
        ((opened(0), requested(), refused(), adjusted()), 4, "it cannot happen to a payment that is failed"),
        ((*GIVEN_BACK, contradicted(), adjusted()), 8, "it cannot happen to a payment that is failed"),
        ((*PAID_OUT, adjusted(gateway_key="payment-1")), 7, "it cannot happen to a payment that is succeeded"),
        ((*PAID_OUT, adjusted(currency="EUR")), 7, "it books 'EUR' for a payment in USD"),
        # inquiries before a new series, and late ones
        ((*WITHDRAWAL, lost(), inquired("declined", call_at=SOON)), 5, "it cannot happen to a payment that is proc"),
        ((*ASKED_FIRST, inquired("approved", series=2, call_at=SOON)), 9, "it cannot happen to a payment that is"),
        ((*ASKED_FIRST, inquired("declined", series=2)), 9, "it cannot happen to a payment that is processing"),
        ((*ASKED_FIRST, inquired(series=2, gateway_key="payment-1-2")), 9, "it cannot happen to a payment that is"),
        ((*ASKED_FIRST, attempted(series=2, gateway_key="payment-1-2")), 9, "it cannot happen to a payment that is"),
        ((*GIVEN_BACK, requeued(asks_first=True, gateway_key="payment-1")), 7, "it cannot happen to a payment that"),
        ((*GIVEN_BACK, inquired("not_found", late=True)), 7, "it cannot happen to a payment that is failed"),
        ((*NOT_FOUND, inquired("declined")), 8, "it cannot happen to a payment that is failed"),
        ((*NOT_FOUND, inquired(late=True)), 8, "it cannot happen to a payment that is failed"),
        ((*NOT_FOUND, inquired("declined", late=True, series=2)), 8, "it cannot happen to a payment that is failed"),
        ((*NOT_FOUND, inquired("declined", late=True, inquire_at=SOON)), 8, "it cannot happen to a payment that is"),
        (
            (*NOT_FOUND, inquired("declined", late=True), inquired("declined", late=True)),
            9,
            "it cannot happen to a payment that is failed",
        ),
        # consequences of an event in the same decision
        ((*WITHDRAWAL, succeeded()), 4, "payment.succeeded by gateway follows from nothing"),
        ((*WITHDRAWAL, attempted(), failed()), 5, "payment.failed by gateway follows from nothing"),
        ((*WITHDRAWAL, lost(), parked()), 5, "payment.parked by parking follows from nothing"),
        ((*PARKED, succeeded(ended_by="inquiry")), 7, "payment.succeeded by inquiry follows from nothing"),
        ((*PARKED, failed(ended_by="resolution")), 7, "payment.failed by resolution follows from nothing"),
        ((*GIVEN_BACK, contradicted(), succeeded(ended_by="reconciliation")), 8, "payment.succeeded by reconciliation"),
        ((*WITHDRAWAL, approved(), failed()), 5, "payment.failed does not agree with payment.gateway_attempted"),
        ((*WITHDRAWAL, declined(), succeeded()), 5, "payment.succeeded does not agree with payment.gateway_attempted"),
        ((*WITHDRAWAL, approved(), succeeded(reference="x")), 5, "payment.succeeded does not agree with payment.gate"),
        ((*WITHDRAWAL, lost(), inquired("approved"), parked()), 6, "payment.parked comes where payment.inquired must"),
        ((*WITHDRAWAL, approved(), attempted(attempt=2)), 5, "payment.gateway_attempted comes where payment.gateway_"),
        ((*WITHDRAWAL, approved(), (succeeded(), {"later": 1})), 5, "payment.succeeded is of another decision than"),
        ((*WITHDRAWAL, approved(), (succeeded(), {"command_id": "d"})), 5, "payment.succeeded is of another decision"),
        ((*WITHDRAWAL, approved(), (succeeded(), {"by": "Eve"})), 5, "payment.succeeded is of another decision than"),
        ((*WITHDRAWAL, approved(), (succeeded(), {"cause": "RecordInquiry"})), 5, "payment.succeeded is of another"),
        ((*WITHDRAWAL, approved()), 4, "payment.gateway_attempted must bring about the gateway of payment-1, which"),
        ((*WITHDRAWAL, lost(), inquired()), 5, "payment.inquired must bring about the parking of payment-1, which is"),
        ((*NOT_FOUND, inquired("approved", late=True)), 8, "payment.inquired must bring about the contradiction of"),
        (
            (
                *NOT_FOUND,
                inquired("approved", late=True),
                (contradicted(reference="x"), {"cause": "RecordInquiry"}),
            ),
            9,
            "payment.contradicted does not agree with payment.inquired",
        ),
        ((*PARKED, resolved()), 7, "payment.resolved must bring about the resolution of payment-1, which is missing"),
        (
            (*WITHDRAWAL, lost(), inquired("declined"), failed(ended_by="inquiry", inquire_at=SOON)),
            6,
            "payment.failed does not agree with payment.inquired",
        ),
        ((opened(), requested(), refused()), 3, "payment-1 is refused for insufficient funds, but they suffice"),
        (
            (opened(5), requested(), refused(available_minor=4)),
            3,
            "payment-1 is refused with 4 minor units available, and 5 were available",
        ),
        ((opened(0), requested(), refused(available_minor=-1)), 3, "payment.failed is no refusal of a request"),
        ((opened(0), requested(), refused(available_minor=10**9)), 3, "payment.failed is no refusal of a request"),
        (
            (*WITHDRAWAL, declined(), failed(available_minor=1)),
            5,
            "payment.failed does not agree with payment.gateway_",
        ),
        ((opened(0), requested(), refused(reason="x")), 3, "payment.failed is no refusal of a request"),
        ((opened(0), requested(), (refused(), {"later": 1})), 3, "payment.failed is no refusal of a request"),
        ((*WITHDRAWAL, attempted(), refused()), 5, "payment.failed is no refusal of a request"),
        ((*WITHDRAWAL, attempted(attempt=2)), 4, "it cannot happen to a payment that is new"),
        ((*WITHDRAWAL, attempted(series=2)), 4, "it cannot happen to a payment that is new"),
        ((*PAID_OUT, parked()), 7, "it cannot happen to a payment that is succeeded"),
        ((*WITHDRAWAL, succeeded(amount_minor=4_999)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(fee_minor=99)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(account_id=2)), 4, "it is about another payment than the one"),
        ((*WITHDRAWAL, failed(kind="deposit")), 4, "it is about another payment than the one"),
        ((*GIVEN_BACK, requeued(currency="EUR")), 7, "it is about another payment than the one"),
        # effects of a payment on its account
        ((opened(), requested()), 2, "account.funds_held of account-1, required by payment-1, is missing"),
        (
            (opened(), requested(), attempted()),
            2,
            "account.funds_held of account-1, required by payment-1, is missing",
        ),
        ((*WITHDRAWAL, approved(), succeeded()), 5, "account.debited of account-1, required by payment-1, is missing"),
        (
            (*WITHDRAWAL, declined(), failed()),
            5,
            "account.hold_released of account-1, required by payment-1, is missing",
        ),
        ((*GIVEN_BACK, requeued()), 7, "account.funds_held of account-1, required by payment-1, is missing"),
        (DEPOSITED[:4], 4, "account.credited of account-1, required by payment-1, is missing"),
        (
            (*WITHDRAWAL, refused()),
            4,
            "payment-1 is refused for insufficient funds, but its money was held",
        ),
        ((opened(), requested(), held(amount_minor=5_099)), 3, "payment-1 at position 2 requires another event"),
        ((opened(), requested(), held(currency="EUR")), 3, "payment-1 at position 2 requires another event"),
        ((opened(), requested(), (held(), {"later": 1})), 3, "payment-1 at position 2 requires another event"),
        ((*DEPOSITED[:4], credited(net_minor=4_901)), 5, "payment-1 at position 4 requires another event"),
        ((opened(), credited()), 2, "no event of payment-1 requires this event"),
        ((*PAID_OUT[:5], debited(held_minor=0)), 6, "payment-1 at position 5 requires another event"),
        ((*PAID_OUT[:5], released()), 6, "payment-1 at position 5 requires another event"),
        ((*PAID_OUT[:5], (debited(), {"command_id": "d"})), 6, "payment-1 at position 5 requires another event"),
        ((*PAID_OUT[:5], (debited(), {"by": "Eve"})), 6, "payment-1 at position 5 requires another event"),
        ((*PAID_OUT[:5], (debited(), {"cause": "payment-1/1"})), 6, "payment-1 at position 5 requires another event"),
        ((*PAID_OUT, debited(held_minor=0)), 7, "no event of payment-1 requires this event"),
        ((*DEPOSITED, credited()), 6, "no event of payment-1 requires this event"),
        ((*WITHDRAWAL, held()), 4, "no event of payment-1 requires this event"),
        ((*PAID_OUT, adjusted(against="account")), 7, "account.adjusted of account-1, required by payment-1, is miss"),
        (
            (*PAID_OUT, adjusted(against="account"), account_adjusted(amount_minor=4_999)),
            8,
            "payment-1 at position 7 requires another event",
        ),
        (
            (*PAID_OUT, adjusted(against="account"), account_adjusted(direction="in")),
            8,
            "payment-1 at position 7 requires another event",
        ),
        ((*PAID_OUT, adjusted(), account_adjusted()), 8, "no event of payment-1 requires this event"),
    ],
)
def test_the_first_fault_is_named(
    replay: Replay, events: Sequence[AnyEvent | tuple[AnyEvent, dict[str, Any]]], position: int, what: str
) -> None:
    """The first finding has its position, and comes before all findings that may follow from it."""
    first = found(replay, log(*events))[0]

    assert (first[0], first[1][: len(what)]) == (position, what)


def test_a_hold_on_another_account_is_found(replay: Replay) -> None:
    """The amount is right, but the account is not."""
    rows = log(opened(), (opened(), {"stream": "account-2"}), requested(), (held(), {"stream": "account-2"}))

    assert found(replay, rows) == [(4, "payment-1 at position 3 requires another event")]


def test_an_event_whose_time_has_no_offset_is_found(replay: Replay) -> None:
    """Without an offset the time is ambiguous."""
    rows = log(opened())
    state = rows[0].state.replace(b'Z"', b'"')

    assert found(replay, [rows[0]._replace(state=state)]) == [(1, "the event's time has no offset")]


def test_an_unreadable_event_is_found_and_its_stream_is_skipped(replay: Replay) -> None:
    """Later events of the stream and of its account could only seem wrong because of it, so they are not reported."""
    rows = log(*PAID_OUT)
    rows[3] = rows[3]._replace(topic="payment.unheard_of")

    errors = found(replay, rows)

    assert [position for position, _ in errors] == [4]
    assert errors[0][1].startswith("the event cannot be read: ")
    assert replay.is_lost("payment-1")
    assert not replay.is_lost("account-1")


def test_a_lost_account_causes_no_further_findings(replay: Replay) -> None:
    """The payments of a lost account are not at fault."""
    rows = log(opened(-1), *PAID_OUT[1:], requested(payment_id=1025), held(payment_id=1025))

    assert [position for position, _ in found(replay, rows)] == [1]


def test_an_effect_on_a_lost_account_is_not_reported_missing(replay: Replay) -> None:
    """The account's event is at fault, and not the payment."""
    rows = log(opened(5_000), requested(), held())

    assert [position for position, _ in found(replay, rows)] == [3]
