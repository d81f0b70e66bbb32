"""What commands do to the ledger: events of payments and accounts together, the queue, the keys and the answers.

Stories are told on a paper ledger, which decides, applies and keeps as the writer does. The last part holds any story
at all to what must always be true of money.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from ledger.books import BatchBooks, Books
from ledger.commands import (
    AccountOpening,
    AnyCommand,
    Fail,
    FollowUp,
    InquireAfter,
    OpenAccount,
    PaymentAcceptance,
    PaymentStanding,
    RequestDeposit,
    RequestWithdrawal,
    RetryAfter,
    Succeed,
)
from ledger.decisions import FINGERPRINT_VERSION, KeyTaken, QueueEntry, decide
from ledger.errors import (
    AccountNotFound,
    AmountInvalid,
    BalanceLimitExceeded,
    CurrencyUnknown,
    IdempotencyKeyReused,
    InsufficientFunds,
    NotRequeueable,
    NotResolvable,
    OutcomeImpossible,
    PaymentNotFound,
    Refusal,
    StaleCommand,
)
from ledger.events import (
    AccountCredited,
    AccountDebited,
    AccountOpened,
    FundsHeld,
    HoldReleased,
    IdempotencyKey,
    InquiryName,
    OutcomeName,
    PaymentEnded,
    PaymentFailed,
    PaymentRequested,
    PaymentRequeued,
    PaymentSucceeded,
)
from ledger.identifiers import stream_id
from ledger.log import Head
from ledger.money import BALANCE_MINOR_MAX, decimal_text
from tests.ledger.paper_ledger import (
    BEGINNING,
    PaperStore,
    PaperWriter,
    deposit,
    inquiry,
    open_account,
    outcome,
    requeue,
    resolve,
    withdrawal,
)

RETRY, INQUIRE = RetryAfter(1.5), InquireAfter(5.0)
FULL = "10000000000000.00"  # the most a single amount may be


@pytest.fixture
def ledger() -> PaperWriter:
    """A ledger with account 1, which holds ten dollars."""
    writer = PaperWriter()
    writer.opened("10.00")
    return writer


def balance(ledger: PaperWriter, account_id: int = 1) -> tuple[int, int]:
    """What an account holds, and what of it is set aside."""
    account = ledger.account(account_id)
    return account.posted_minor, account.held_minor


def declined(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """A payment that the gateway declined."""
    payment_id = ledger.requested(command).payment_id
    ledger.told(payment_id, "declined", Fail("declined"))
    return payment_id


def in_doubt(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """A payment that the gateway cannot tell about."""
    payment_id = ledger.requested(command).payment_id
    ledger.told(payment_id, "unknown", INQUIRE)
    ledger.inquired(payment_id, "no_clear_answer", INQUIRE)
    return payment_id


def contradicted(ledger: PaperWriter, command: RequestDeposit | RequestWithdrawal) -> int:
    """A payment that was declined and, as the gateway then said, succeeded."""
    payment_id = declined(ledger, command)
    ledger.told(payment_id, "approved", Succeed(), attempt=1)
    return payment_id


# --- opening ---------------------------------------------------------------------------------------------------------


def test_the_first_account_is_1_and_holds_its_opening_balance() -> None:
    """Answer, event and account agree; the head counts the next one."""
    ledger = PaperWriter()

    answer = ledger.one(open_account("10.5", currency="USD", by="admin"))

    assert answer == AccountOpening(account_id=1, currency="USD", opening_minor=1050, replayed=False)
    (recorded,) = ledger.store.events()
    assert recorded.data == AccountOpened(currency="USD", opening_minor=1050, idempotency=None)
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("account-1", 1, BEGINNING)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("open", "OpenAccount", "admin")
    assert ledger.store.head.next_account_id == 2
    assert balance(ledger) == (1050, 0)


def test_accounts_are_counted_and_may_be_empty() -> None:
    """Also within one batch, and in any currency."""
    ledger = PaperWriter()

    answers = ledger.write(open_account("0"), open_account("7", currency="JPY"), open_account(FULL))

    assert [(answer.account_id, answer.opening_minor) for answer in answers] == [(1, 0), (2, 7), (3, 10**15)]
    assert ledger.account(2).currency == "JPY"


@pytest.mark.parametrize(
    ("opening", "currency", "refusal"),
    [
        ("-1", "USD", AmountInvalid),
        ("0.001", "USD", AmountInvalid),
        ("10000000000000.01", "USD", AmountInvalid),
        ("1", "XXX", CurrencyUnknown),
    ],
)
def test_an_account_is_not_opened_with_what_is_no_amount(opening: str, currency: str, refusal: type[Refusal]) -> None:
    """Nor in a currency that nobody knows; nothing is written then."""
    ledger = PaperWriter()

    with pytest.raises(refusal):
        ledger.one(open_account(opening, currency=currency))

    assert ledger.store.log == []


# --- requests --------------------------------------------------------------------------------------------------------


def test_a_deposit_is_recorded_and_queued_and_moves_nothing_yet(ledger: PaperWriter) -> None:
    """200.00 at 2 % will credit 196.00 once the gateway has moved the money."""
    ledger.store.clock += timedelta(seconds=3)
    at = ledger.store.clock

    answer = ledger.one(deposit("200.00", command_id="r-1", by="shop", trace_context="00-ab-cd-01"))

    assert answer == PaymentAcceptance(
        payment_id=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        currency="USD",
        requested_at=at,
        refused=False,
        replayed=False,
    )
    recorded = ledger.store.events()[-1]
    assert recorded.data == PaymentRequested(
        payment_id=1,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
        idempotency=None,
    )
    assert (recorded.originator_id, recorded.originator_version, recorded.at) == ("payment-1", 1, at)
    assert (recorded.command_id, recorded.cause, recorded.by) == ("r-1", "RequestDeposit", "shop")
    assert ledger.store.queue == {
        1: QueueEntry(
            payment_id=1,
            account_id=1,
            kind="deposit",
            amount_minor=20_000,
            fee_minor=400,
            currency="USD",
            series=1,
            gateway_key="payment-1",
            attempt=0,
            action="pay",
            inquiries=0,
            unknown=False,
            payment_version=1,
            due_at=at,
            trace_context="00-ab-cd-01",
        )
    }
    assert balance(ledger) == (1000, 0)


def test_a_withdrawal_sets_amount_and_fee_aside_before_the_gateway_is_called(ledger: PaperWriter) -> None:
    """The hold follows from the request, in the same decision, and names it as its cause."""
    answer = ledger.one(withdrawal("5.00", command_id="r-2", by="shop"))

    assert (answer.kind, answer.amount_minor, answer.fee_minor, answer.refused) == ("withdraw", 500, 10, False)
    requested, held = ledger.store.events()[-2:]
    assert (requested.originator_id, requested.cause) == ("payment-1", "RequestWithdrawal")
    assert held.data == FundsHeld(payment_id=1, currency="USD", amount_minor=510)
    assert (held.originator_id, held.originator_version, held.cause) == ("account-1", 2, "payment-1/1")
    assert (held.command_id, held.by) == ("r-2", "shop")
    assert balance(ledger) == (1000, 510)
    assert ledger.store.queue[1].kind == "withdraw"


def test_a_withdrawal_of_too_much_is_recorded_as_failed_at_once(ledger: PaperWriter) -> None:
    """One cent short with its fee: no refusal but a payment, which no gateway hears of."""
    answer = ledger.one(withdrawal("9.81"))

    assert (answer.payment_id, answer.refused) == (1, True)
    requested, failed = ledger.store.events("payment-1")
    assert isinstance(requested.data, PaymentRequested)
    assert failed.data == PaymentFailed(
        payment_id=1,
        account_id=1,
        kind="withdraw",
        amount_minor=981,
        fee_minor=20,
        currency="USD",
        series=1,
        ended_by="request",
        reason="insufficient_funds",
    )
    assert failed.cause == "payment-1/1"
    assert ledger.store.queue == {}
    assert balance(ledger) == (1000, 0)


def test_all_that_is_there_can_be_withdrawn_with_its_fee() -> None:
    """To the last cent, and then nothing more."""
    ledger = PaperWriter()
    ledger.opened("10.20")

    first, second = ledger.write(withdrawal("10.00"), withdrawal("0.01"))

    assert (first.refused, second.refused) == (False, True)
    assert ledger.account().available_minor == 0


def test_each_request_of_a_batch_sees_the_ones_before_it(ledger: PaperWriter) -> None:
    """Two withdrawals of six dollars from ten: the second finds too little; a small one still finds enough."""
    answers = ledger.write(withdrawal("6.00"), withdrawal("6.00"), withdrawal("1.00"))

    assert [answer.refused for answer in answers] == [False, True, False]
    assert [answer.payment_id for answer in answers] == [1, 1025, 2049]
    assert balance(ledger) == (1000, 612 + 102)


def test_a_payment_has_the_slot_of_its_account(ledger: PaperWriter) -> None:
    """The head counts all payments; the id follows from the count and the account."""
    ledger.opened("0")

    answers = ledger.write(deposit(account_id=2), deposit(account_id=1), deposit(account_id=2))

    assert [answer.payment_id for answer in answers] == [2, 1025, 2050]
    assert ledger.store.head.next_payment_sequence == 3


@pytest.mark.parametrize("request_payment", [deposit, withdrawal])
@pytest.mark.parametrize(
    ("amount", "why"),
    [
        ("0", "it is zero"),
        ("0.000", "it is zero"),
        ("-1", "it is below zero"),
        ("0.001", "USD has 2 decimals and it has more"),
        ("10000000000000.01", "it is above 10000000000000.00, the most a single amount may be"),
    ],
)
def test_what_is_no_amount_to_pay_is_refused(ledger: PaperWriter, request_payment: Any, amount: str, why: str) -> None:
    """Nothing is recorded of it."""
    with pytest.raises(AmountInvalid) as refused:
        ledger.one(request_payment(amount))

    assert why == refused.value.why
    assert len(ledger.store.log) == 1


@pytest.mark.parametrize("command", [deposit(account_id=9), withdrawal(account_id=9, idempotency_key="k")])
def test_a_payment_needs_an_account(ledger: PaperWriter, command: AnyCommand) -> None:
    """An account that nobody opened has no payments."""
    with pytest.raises(AccountNotFound) as refused:
        ledger.one(command)

    assert refused.value.facts == {"account_id": 9}
    assert ledger.store.keys == {}


def test_a_deposit_that_could_overfill_the_account_is_refused(ledger: PaperWriter) -> None:
    """All deposits on their way count, also those of the same batch; not one cent goes in beyond the limit."""
    fill = [deposit(FULL, fee_rate_ppm=0) for _ in range(9)]
    last = [deposit(amount, fee_rate_ppm=0) for amount in ("71992547399.92", "71992547399.91", "0.01")]

    *filled, too_much, just_right, one_cent_more = ledger.write(*fill, *last)

    assert all(isinstance(answer, PaymentAcceptance) for answer in [*filled, just_right])
    assert isinstance(too_much, BalanceLimitExceeded)
    assert isinstance(one_cent_more, BalanceLimitExceeded)
    assert too_much.facts == {"account_id": 1, "limit_minor": BALANCE_MINOR_MAX}
    assert ledger.store.pending_minor(1) + 1000 == BALANCE_MINOR_MAX
    assert len(ledger.store.queue) == 10


def test_a_failed_deposit_makes_room_again(ledger: PaperWriter) -> None:
    """What is no longer on its way no longer counts."""
    first, *_ = ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])
    with pytest.raises(BalanceLimitExceeded):
        ledger.one(deposit(FULL, fee_rate_ppm=0))

    ledger.told(first.payment_id, "declined", Fail())

    assert ledger.one(deposit(FULL, fee_rate_ppm=0)).amount_minor == 10**15


# --- idempotency keys ------------------------------------------------------------------------------------------------


def test_a_key_is_kept_with_the_request_that_took_it(ledger: PaperWriter) -> None:
    """In the event too, from which the table of keys can be made again."""
    ledger.one(deposit("2.00", idempotency_key="k"))

    idempotency = IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/200", fingerprint_version=1)
    assert ledger.store.keys == {
        ("user-1", "k"): KeyTaken(subject_kind="payment", subject_id=1, idempotency=idempotency)
    }
    (requested,) = ledger.store.events("payment-1")
    assert isinstance(requested.data, PaymentRequested)
    assert requested.data.idempotency == idempotency
    assert FINGERPRINT_VERSION == 1


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("command", "again"),
    [
        (deposit("2.00", idempotency_key="k"), deposit("2.0", idempotency_key="k", fee_rate_ppm=990_000)),
        (withdrawal("2.00", idempotency_key="k"), withdrawal("2", idempotency_key="k", command_id="other")),
        (withdrawal("99.00", idempotency_key="k"), withdrawal("99.00", idempotency_key="k")),
    ],
    ids=["deposit", "withdrawal", "too little money"],
)
def test_the_same_request_under_the_same_key_gets_the_first_answer(
    ledger: PaperWriter,
    command: AnyCommand,
    again: AnyCommand,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """In the same batch or later, whatever the fee is by now; a refusal for too little money is an answer too."""
    if together:
        first, second = ledger.write(command, again)
    else:
        first = ledger.one(command)
        ledger.store.clock += timedelta(days=400)
        second = ledger.one(again)

    assert asdict(second) == {**asdict(first), "replayed": True}
    assert [event.originator_id for event in ledger.store.events()].count("payment-1") == 1 + first.refused
    assert ledger.store.head.next_payment_sequence == 1


def test_the_first_answer_stays_the_same_whatever_became_of_the_payment(ledger: PaperWriter) -> None:
    """Failed, requeued, settled: what the client was told first is what he is told again."""
    first = ledger.one(withdrawal(idempotency_key="k"))

    answers = []
    ledger.told(1, "declined", Fail())
    answers.append(ledger.one(withdrawal(idempotency_key="k")))
    ledger.requeued(1)
    answers.append(ledger.one(withdrawal(idempotency_key="k")))
    ledger.told(1, "approved", Succeed())
    answers.append(ledger.one(withdrawal(idempotency_key="k")))

    assert [{**asdict(first), "replayed": True}] * 3 == [asdict(answer) for answer in answers]


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("other", [deposit("2.01", idempotency_key="k"), withdrawal("2.00", idempotency_key="k")])
def test_another_request_under_the_same_key_is_refused(
    ledger: PaperWriter,
    other: AnyCommand,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """Another amount or another route; the first is not harmed."""
    first = deposit("2.00", idempotency_key="k")
    answers = ledger.write(first, other) if together else [*ledger.write(first), *ledger.write(other)]

    assert isinstance(answers[1], IdempotencyKeyReused)
    assert answers[1].facts == {"key": "k"}
    assert list(ledger.store.queue) == [1]


def test_keys_of_two_users_are_two_keys(ledger: PaperWriter) -> None:
    """Each user has keys of his own, and so has whoever opens accounts."""
    ledger.opened("10.00", idempotency_key="k", caller="shop")

    first, second = ledger.write(deposit(account_id=1, idempotency_key="k"), deposit(account_id=2, idempotency_key="k"))

    assert (first.payment_id, second.payment_id) == (1, 1026)
    assert not second.replayed


def test_a_refused_request_leaves_its_key_free(ledger: PaperWriter) -> None:
    """Corrected, it may come again under the same key."""
    with pytest.raises(AmountInvalid):
        ledger.one(deposit("0", idempotency_key="k"))

    assert ledger.one(deposit("1", idempotency_key="k")).replayed is False


@pytest.mark.parametrize("together", [True, False])
def test_an_account_is_opened_once_under_a_key(together: bool) -> None:  # noqa: FBT001 - a case of the table
    """Also in one batch; the answer is the first one, whatever the account holds by now."""
    ledger = PaperWriter()
    command = open_account("10.00", idempotency_key="k", caller="shop")
    again = open_account("10", idempotency_key="k", caller="shop")

    first, second = ledger.write(command, again) if together else [*ledger.write(command), *ledger.write(again)]

    assert asdict(second) == {**asdict(first), "replayed": True}
    assert ledger.store.head.next_account_id == 2
    fingerprint = IdempotencyKey(scope="caller-shop", key="k", fingerprint="open/1000/USD")
    assert list(ledger.store.keys.values()) == [KeyTaken(subject_kind="account", subject_id=1, idempotency=fingerprint)]


@pytest.mark.parametrize("other", [{"opening": "10.01"}, {"opening": "10.00", "currency": "EUR"}])
def test_another_opening_under_the_same_key_is_refused(other: dict[str, str]) -> None:
    """Another balance or another currency."""
    ledger = PaperWriter()
    ledger.one(open_account("10.00", idempotency_key="k"))

    with pytest.raises(IdempotencyKeyReused):
        ledger.one(open_account(**other, idempotency_key="k"))


def test_openings_without_a_key_are_all_different() -> None:
    """Nobody asked for them to be the same."""
    ledger = PaperWriter()

    first, second = ledger.write(open_account(), open_account())

    assert (first.account_id, second.account_id) == (1, 2)


# --- the gateway's reports -------------------------------------------------------------------------------------------

Posted = tuple[int, int]


@pytest.mark.parametrize(
    ("request_payment", "told", "then", "topics", "after"),
    [
        (deposit, "approved", Succeed(), ["payment.succeeded", "account.credited"], (1196, 0)),
        (withdrawal, "approved", Succeed(), ["payment.succeeded", "account.debited"], (796, 0)),
        (deposit, "declined", Fail(), ["payment.failed"], (1000, 0)),
        (withdrawal, "declined", Fail(), ["payment.failed", "account.hold_released"], (1000, 0)),
        (deposit, "turned_away", RETRY, [], (1000, 0)),
        (withdrawal, "turned_away", RETRY, [], (1000, 204)),
        (withdrawal, "unknown", RETRY, [], (1000, 204)),
        (withdrawal, "unknown", INQUIRE, [], (1000, 204)),
        (withdrawal, "unknown", Fail(unasked=True), ["payment.failed", "account.hold_released"], (1000, 0)),
    ],
)
def test_the_gateways_word_settles_frees_or_waits(
    ledger: PaperWriter, request_payment: Any, told: OutcomeName, then: FollowUp, topics: list[str], after: Posted
) -> None:
    """The payment's end and the account's part of it stand in one decision, the latter caused by the former."""
    payment = ledger.requested(request_payment("2.00"))
    before = len(ledger.store.log)

    standing = ledger.one(outcome(payment, told, then))

    events = ledger.store.events()[before:]
    assert ["payment.gateway_attempted", *topics] == [event.data.TOPIC for event in events]
    assert after == balance(ledger)
    state = {"payment.succeeded": "succeeded", "payment.failed": "failed"}[topics[0]] if topics else "processing"
    assert standing == PaymentStanding(payment_id=1, state=state, version=2 + bool(topics))
    assert bool(topics) is (ledger.store.queue == {})
    for event in events:
        follows = event.originator_id == "account-1"
        assert event.cause == (f"payment-1/{standing.version}" if follows else "RecordGatewayOutcome")


def test_a_settled_deposit_is_credited_less_its_fee(ledger: PaperWriter) -> None:
    """With all the figures that a journal needs."""
    payment = ledger.requested(deposit("200.00"))

    ledger.told(payment.payment_id, "approved", Succeed())

    assert ledger.store.events("account-1")[-1].data == AccountCredited(
        payment_id=1, currency="USD", gross_minor=20_000, fee_minor=400, net_minor=19_600
    )


def test_a_settled_withdrawal_uses_its_hold_up(ledger: PaperWriter) -> None:
    """With all the figures that a journal needs."""
    ledger.told(ledger.requested(withdrawal("5.00")).payment_id, "approved", Succeed())

    assert ledger.store.events("account-1")[-1].data == AccountDebited(
        payment_id=1, currency="USD", gross_minor=500, fee_minor=10, total_minor=510, held_minor=510
    )


def test_a_failed_withdrawal_gives_its_hold_back(ledger: PaperWriter) -> None:
    """The whole of it."""
    declined(ledger, withdrawal("5.00"))

    assert ledger.store.events("account-1")[-1].data == HoldReleased(payment_id=1, currency="USD", amount_minor=510)


@pytest.mark.parametrize(
    ("told", "then", "action", "delay_seconds", "unknown"),
    [
        ("turned_away", RETRY, "pay", 1.5, False),
        ("unknown", RETRY, "pay", 1.5, True),
        ("unknown", INQUIRE, "inquire", 5.0, True),
        ("turned_away", INQUIRE, "inquire", 5.0, False),
    ],
)
def test_what_comes_next_is_queued_on_the_databases_clock(
    ledger: PaperWriter,
    told: OutcomeName,
    then: FollowUp,
    action: str,
    delay_seconds: float,
    unknown: bool,  # noqa: FBT001 - a column of the table
) -> None:
    """Another call or an inquiry, under the same key, with what a worker has to know."""
    payment = ledger.requested(withdrawal("2.00"))
    ledger.store.clock += timedelta(seconds=7)

    ledger.one(outcome(payment, told, then))

    assert asdict(ledger.store.queue[1]) == {
        "payment_id": 1,
        "account_id": 1,
        "kind": "withdraw",
        "amount_minor": 200,
        "fee_minor": 4,
        "currency": "USD",
        "series": 1,
        "gateway_key": "payment-1",
        "attempt": 1,
        "action": action,
        "inquiries": 0,
        "unknown": unknown,
        "payment_version": 2,
        "due_at": BEGINNING + timedelta(seconds=7 + delay_seconds),
        "trace_context": None,
    }


def test_an_unknown_attempt_is_not_forgotten_with_the_next_one(ledger: PaperWriter) -> None:
    """The worker has to know of it when the last attempt is turned away."""
    ledger.requested(deposit())

    ledger.told(1, "unknown", RETRY)
    ledger.told(1, "turned_away", RETRY)

    assert (ledger.store.queue[1].unknown, ledger.store.queue[1].attempt) == (True, 2)


def test_the_batchs_time_is_never_before_the_last_one(ledger: PaperWriter) -> None:
    """A database's clock that was set back does not turn the log's time back."""
    ledger.store.clock = BEGINNING + timedelta(hours=1)
    ledger.one(deposit())
    ledger.store.clock = BEGINNING

    ledger.one(deposit())

    assert ledger.store.events()[-1].at == BEGINNING + timedelta(hours=1)


@pytest.mark.parametrize(
    ("answer", "then", "topics", "after"),
    [
        ("approved", Succeed(), ["payment.inquired", "payment.succeeded", "account.debited"], (796, 0)),
        ("declined", Fail(), ["payment.inquired", "payment.failed", "account.hold_released"], (1000, 0)),
        ("no_clear_answer", INQUIRE, ["payment.inquired", "payment.parked"], (1000, 204)),
    ],
)
def test_an_inquiry_settles_frees_or_parks(
    ledger: PaperWriter, answer: InquiryName, then: FollowUp, topics: list[str], after: Posted
) -> None:
    """While a payment is in doubt, its hold stays."""
    ledger.requested(withdrawal("2.00"))
    ledger.told(1, "unknown", INQUIRE)
    before = len(ledger.store.log)

    payment = ledger.inquired(1, answer, then)

    assert topics == [event.data.TOPIC for event in ledger.store.events()[before:]]
    assert after == balance(ledger)
    assert payment.ended is (ledger.store.queue == {})


def test_a_payment_in_doubt_is_asked_about_again_without_an_event(ledger: PaperWriter) -> None:
    """The queue counts the inquiries and knows when the next is due; the history does not grow with each."""
    in_doubt(ledger, deposit())
    before = len(ledger.store.log)
    ledger.store.clock += timedelta(minutes=1)

    ledger.one(inquiry(ledger.payment(), "no_clear_answer", InquireAfter(60), inquiry=2))

    assert len(ledger.store.log) == before
    entry = ledger.store.queue[1]
    assert (entry.action, entry.inquiries, entry.attempt, entry.unknown) == ("inquire", 2, 1, True)
    assert (entry.payment_version, entry.due_at) == (4, BEGINNING + timedelta(minutes=2))


def test_a_late_success_ends_a_payment_in_doubt(ledger: PaperWriter) -> None:
    """The call that had been written off came back after all; nothing is left to ask."""
    in_doubt(ledger, withdrawal("2.00"))

    payment = ledger.told(1, "approved", Succeed(), attempt=1)

    assert payment.state == "succeeded"
    assert balance(ledger) == (796, 0)
    assert ledger.store.queue == {}


def test_a_late_answer_that_changes_nothing_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """The entry of the attempt under way, with its lease, is not written anew."""
    ledger.requested(deposit())
    ledger.told(1, "unknown", RETRY)
    entry = ledger.store.queue[1]
    ledger.store.clock += timedelta(seconds=9)

    standing = ledger.one(outcome(ledger.payment(), "declined", Fail(), attempt=1))

    assert standing == PaymentStanding(payment_id=1, state="processing", version=2)
    assert ledger.store.queue == {1: entry}


def test_a_late_answer_about_an_earlier_series_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """Even when it has the number of the attempt that comes next in this one."""
    declined(ledger, deposit())
    ledger.requeued(1)
    entry = ledger.store.queue[1]

    ledger.told(1, "approved", RETRY, series=1, attempt=1)

    assert ledger.store.topics("payment-1")[-1] == "payment.contradicted"
    assert ledger.store.queue == {1: entry}
    assert balance(ledger) == (1000, 0)


def test_an_inquiry_about_an_earlier_series_leaves_the_queue_alone(ledger: PaperWriter) -> None:
    """As a late answer of a call."""
    declined(ledger, deposit())
    ledger.requeued(1)
    entry = ledger.store.queue[1]

    ledger.inquired(1, "declined", Fail(), series=1)

    assert ledger.store.queue == {1: entry}


def test_a_report_about_an_ended_payment_takes_it_off_the_queue(ledger: PaperWriter) -> None:
    """Should an entry have been left there, it goes now."""
    declined(ledger, deposit())
    batch = ledger.begin([requeue(1)])

    call = decide(outcome(ledger.payment(), "declined", Fail(), attempt=1), batch)
    inquired = decide(inquiry(ledger.payment(), "no_clear_answer", INQUIRE), batch)

    assert (call.dequeue, call.enqueue, call.happenings) == (1, None, [])
    assert (inquired.dequeue, inquired.enqueue, inquired.happenings) == (1, None, [])


def test_a_contradiction_moves_no_money(ledger: PaperWriter) -> None:
    """We failed the payment; that the gateway moved the money is for an operator to reconcile."""
    contradicted(ledger, withdrawal("2.00"))

    assert ledger.payment().letter == "reconcile"
    assert balance(ledger) == (1000, 0)
    assert ledger.store.queue == {}


def test_reports_that_cannot_be_are_refused_and_change_nothing(ledger: PaperWriter) -> None:
    """Stale, impossible, or about nothing that is there; the next one in the same batch still goes through."""
    payment = ledger.requested(withdrawal("2.00"))

    answers = ledger.write(
        outcome(payment, "approved", Succeed(), seen_version=0),
        outcome(payment, "approved", RETRY),
        outcome(payment, "approved", Succeed(), payment_id=99),
        inquiry(payment, "approved", Succeed(), payment_id=99),
        inquiry(payment, "approved", Succeed(), seen_version=2),
        outcome(payment, "approved", Succeed()),
        outcome(payment, "approved", Succeed()),
    )

    assert [type(answer) for answer in answers] == [
        StaleCommand,
        OutcomeImpossible,
        PaymentNotFound,
        PaymentNotFound,
        StaleCommand,
        PaymentStanding,
        StaleCommand,
    ]
    assert answers[2].facts == {"payment_id": 99}
    assert balance(ledger) == (796, 0)


# --- the operator ----------------------------------------------------------------------------------------------------


def test_a_requeued_deposit_is_called_for_again(ledger: PaperWriter) -> None:
    """Under a new key, from now on, with nothing of the old series counted."""
    declined(ledger, deposit("2.00", trace_context="00-ab-cd-01"))
    ledger.store.clock += timedelta(days=1)

    standing = ledger.one(requeue(1, why="fixed", by="op", command_id="q"))

    assert standing == PaymentStanding(payment_id=1, state="processing", version=4)
    recorded = ledger.store.events()[-1]
    assert isinstance(recorded.data, PaymentRequeued)
    assert (recorded.data.why, recorded.by, recorded.cause, recorded.command_id) == (
        "fixed",
        "op",
        "RequeuePayment",
        "q",
    )
    assert ledger.store.queue == {
        1: QueueEntry(
            payment_id=1,
            account_id=1,
            kind="deposit",
            amount_minor=200,
            fee_minor=4,
            currency="USD",
            series=2,
            gateway_key="payment-1-2",
            attempt=0,
            action="pay",
            inquiries=0,
            unknown=False,
            payment_version=4,
            due_at=BEGINNING + timedelta(days=1),
            trace_context=None,
        )
    }


def test_a_requeued_withdrawal_takes_its_hold_anew(ledger: PaperWriter) -> None:
    """And settles from it; the old key goes with it where the gateway cannot be asked."""
    declined(ledger, withdrawal("2.00"))

    ledger.requeued(1, same_gateway_key=True)

    held = ledger.store.events()[-1]
    assert held.data == FundsHeld(payment_id=1, currency="USD", amount_minor=204)
    assert held.cause == "payment-1/4"
    assert balance(ledger) == (1000, 204)
    assert ledger.store.queue[1].gateway_key == "payment-1"
    ledger.told(1, "approved", Succeed())
    assert balance(ledger) == (796, 0)


def test_a_requeue_is_refused_where_the_money_is_gone(ledger: PaperWriter) -> None:
    """Somebody else has it; nothing changes."""
    declined(ledger, withdrawal("5.00"))
    ledger.one(withdrawal("5.00"))
    before = ledger.store.log.copy()

    with pytest.raises(InsufficientFunds) as refused:
        ledger.one(requeue(1))

    assert refused.value.facts == {"available_minor": 490, "needed_minor": 510}
    assert before == ledger.store.log
    assert list(ledger.store.queue) == [1025]


def test_a_requeue_is_refused_where_the_account_has_no_room(ledger: PaperWriter) -> None:
    """Other deposits have taken it meanwhile."""
    declined(ledger, deposit(FULL, fee_rate_ppm=0))
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])

    with pytest.raises(BalanceLimitExceeded):
        ledger.one(requeue(1))

    assert 1 not in ledger.store.queue


def test_only_what_is_there_and_failed_is_requeued(ledger: PaperWriter) -> None:
    """Neither what is unknown nor what is under way, nor what failed for want of money."""
    ledger.write(deposit(), withdrawal("99.00"))

    answers = ledger.write(requeue(1), requeue(1025), requeue(7))

    assert [type(answer) for answer in answers] == [NotRequeueable, NotRequeueable, PaymentNotFound]


@pytest.mark.parametrize(
    ("story", "request_payment", "resolution", "after"),
    [
        (in_doubt, deposit, "success", (1196, 0)),
        (in_doubt, deposit, "failed", (1000, 0)),
        (in_doubt, withdrawal, "success", (796, 0)),
        (in_doubt, withdrawal, "failed", (1000, 0)),
        (contradicted, deposit, "success", (1196, 0)),
        (contradicted, deposit, "failed", (1000, 0)),
        (contradicted, withdrawal, "success", (796, 0)),
        (contradicted, withdrawal, "failed", (1000, 0)),
        (declined, deposit, "failed", (1000, 0)),
        (declined, withdrawal, "failed", (1000, 0)),
    ],
)
def test_a_resolved_payment_moves_its_money_once_or_not_at_all(
    ledger: PaperWriter, story: Any, request_payment: Any, resolution: Any, after: Posted
) -> None:
    """Whatever brought it there; afterwards it is no letter, nothing is queued and nothing is held."""
    payment_id = story(ledger, request_payment("2.00"))

    standing = ledger.one(resolve(payment_id, resolution, by="op"))

    payment = ledger.payment()
    assert after == balance(ledger)
    assert standing == PaymentStanding(
        payment_id=1, state="succeeded" if resolution == "success" else "failed", version=payment.version
    )
    assert payment.letter is None
    assert ledger.store.queue == {}
    with pytest.raises(NotResolvable):
        ledger.one(resolve(payment_id, resolution))


def test_a_reconciled_withdrawal_is_taken_from_what_is_available(ledger: PaperWriter) -> None:
    """Its hold is long gone, so it uses none up."""
    contradicted(ledger, withdrawal("2.00"))

    ledger.resolved(1, "success")

    debited = ledger.store.events("account-1")[-1]
    assert debited.data == AccountDebited(
        payment_id=1, currency="USD", gross_minor=200, fee_minor=4, total_minor=204, held_minor=0
    )
    assert debited.cause == f"payment-1/{ledger.payment().version}"


def test_a_withdrawal_is_reconciled_only_when_it_is_covered(ledger: PaperWriter) -> None:
    """Else it stays open, for an operator to see."""
    contradicted(ledger, withdrawal("5.00"))
    ledger.one(withdrawal("5.00"))

    with pytest.raises(InsufficientFunds):
        ledger.one(resolve(1, "success"))

    assert ledger.payment().letter == "reconcile"
    ledger.told(1025, "declined", Fail())
    assert ledger.resolved(1, "success").state == "succeeded"
    assert balance(ledger) == (490, 0)


def test_a_deposit_is_reconciled_only_when_there_is_room(ledger: PaperWriter) -> None:
    """Its own room was given away when it failed."""
    contradicted(ledger, deposit(FULL, fee_rate_ppm=0))
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])

    with pytest.raises(BalanceLimitExceeded):
        ledger.one(resolve(1, "success"))

    assert ledger.payment().letter == "reconcile"


def test_a_deposit_in_doubt_keeps_its_room(ledger: PaperWriter) -> None:
    """So that it can be settled whatever else came in; nothing needs to be checked again."""
    ledger.write(*[deposit(FULL, fee_rate_ppm=0) for _ in range(9)])
    ledger.told(1, "unknown", INQUIRE)
    ledger.inquired(1, "no_clear_answer", INQUIRE)

    assert ledger.resolved(1, "success").state == "succeeded"
    assert balance(ledger) == (1000 + 10**15, 0)


def test_only_what_is_there_and_a_letter_is_resolved(ledger: PaperWriter) -> None:
    """Neither what nobody knows nor what is under way."""
    ledger.one(deposit())

    answers = ledger.write(resolve(1, "failed"), resolve(7, "failed"))

    assert [type(answer) for answer in answers] == [NotResolvable, PaymentNotFound]


def test_a_payment_is_settled_once_when_both_series_moved_the_money(ledger: PaperWriter) -> None:
    """The second effect is a letter to reconcile, and not a second credit."""
    declined(ledger, deposit("2.00"))
    ledger.requeued(1)
    ledger.told(1, "approved", Succeed())

    ledger.told(1, "approved", Succeed(), series=1, attempt=1)

    assert balance(ledger) == (1196, 0)
    assert ledger.payment().letter == "reconcile"
    assert ledger.resolved(1, "success").letter is None
    assert balance(ledger) == (1196, 0)


# --- any story -------------------------------------------------------------------------------------------------------

Step = tuple[str, int, int, int]
WEIGHTS = {
    "open": 1,
    "deposit": 3,
    "withdrawal": 4,
    "again": 1,
    "call": 9,
    "late": 3,
    "inquiry": 4,
    "stale": 1,
    "requeue": 3,
    "resolve": 3,
    "other writer": 1,
}
"""How often a story has each step: enough calls for the requests, and enough of what goes wrong afterwards."""

NAMES = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
NUMBERS = st.integers(0, 59)
STEPS = st.lists(st.tuples(st.sampled_from(NAMES), NUMBERS, NUMBERS, NUMBERS), min_size=20, max_size=70)
CALLS: list[tuple[OutcomeName, FollowUp]] = [
    ("approved", Succeed()),
    ("approved", Succeed()),
    ("declined", Fail("declined")),
    ("turned_away", RETRY),
    ("unknown", RETRY),
    ("unknown", INQUIRE),
    ("declined", INQUIRE),
    ("unknown", Fail(unasked=True)),
    ("unknown", Fail()),
    ("declined", Fail()),
    ("approved", RETRY),
]
INQUIRIES: list[tuple[InquiryName, FollowUp]] = [
    ("approved", Succeed()),
    ("declined", Fail()),
    ("no_clear_answer", INQUIRE),
    ("no_clear_answer", INQUIRE),
    ("no_clear_answer", Fail()),
]


def command_of(step: Step, ledger: PaperWriter) -> AnyCommand:
    """A command as a client, a gateway or an operator may well send it, sensible or not."""
    name, first, second, third = step
    account_id = first % max(1, ledger.store.head.next_account_id - 1) + 1
    requests = [event.data for event in ledger.store.events() if isinstance(event.data, PaymentRequested)]
    key = None if third % 2 else f"k{third % 8}"
    if name == "open":
        return open_account(str(second % 10), idempotency_key=key)
    if name in {"deposit", "withdrawal"} or not requests:
        amount, rate_ppm = str((second % 60 + 1) / 10), (0, 20_000, 1_000_000)[third % 3]
        request_payment = withdrawal if name == "withdrawal" else deposit
        return request_payment(amount, account_id=account_id, fee_rate_ppm=rate_ppm, idempotency_key=key)
    if name == "again":
        past = requests[first % len(requests)]
        request_payment = deposit if past.kind == "deposit" else withdrawal
        key = None if past.idempotency is None else past.idempotency.key
        amount = decimal_text(past.amount_minor, currency="USD")
        return request_payment(amount, account_id=past.account_id, idempotency_key=key)
    payment = ledger.payment(requests[first % len(requests)].payment_id)
    told, then = CALLS[second % len(CALLS)]
    answer, inquiry_then = INQUIRIES[second % len(INQUIRIES)]
    match name:
        case "call":
            return outcome(payment, told, then)
        case "late":
            series = third % payment.series + 1
            return outcome(payment, "approved" if second % 2 else told, then, series=series, attempt=third % 2 + 1)
        case "inquiry":
            return inquiry(payment, answer, inquiry_then)
        case "stale":
            return outcome(payment, told, then, seen_version=payment.version - 1)
        case "requeue":
            return requeue(payment.payment_id, same_gateway_key=bool(second % 2))
        case _:
            return resolve(payment.payment_id, "success" if second % 2 else "failed")


def told(ledger: PaperWriter, steps: Sequence[Step]) -> list[PaperWriter]:
    """Play a story through, by two writers that take turns, checking the books after every step."""
    writers = [ledger, PaperWriter(ledger.store, capacity=2)]
    for step in steps:
        ledger.store.clock += timedelta(seconds=step[3] % 3)
        if step[0] == "other writer":
            writers.reverse()
            continue
        before = ledger.store.log.copy()
        (answer,) = writers[0].write(command_of(step, ledger))
        assert not isinstance(answer, Refusal) or before == ledger.store.log
        check_accounts(ledger.store)
        check_payments(ledger)
    return writers


def check_accounts(store: PaperStore) -> None:
    """Every account is what its events say it is, never overdrawn and never overheld."""
    posted: dict[str, int] = defaultdict(int)
    holds: dict[str, dict[int, int]] = defaultdict(dict)
    settled: set[int] = set()
    for event in store.events():
        stream, data = event.originator_id, event.data
        match data:
            case AccountOpened():
                posted[stream] += data.opening_minor
            case FundsHeld():
                assert data.payment_id not in holds[stream]
                holds[stream][data.payment_id] = data.amount_minor
            case HoldReleased():
                assert holds[stream].pop(data.payment_id) == data.amount_minor
            case AccountCredited():
                assert data.payment_id not in settled
                settled.add(data.payment_id)
                assert data.net_minor + data.fee_minor == data.gross_minor
                posted[stream] += data.net_minor
            case AccountDebited():
                assert data.payment_id not in settled
                settled.add(data.payment_id)
                assert data.gross_minor + data.fee_minor == data.total_minor
                assert holds[stream].pop(data.payment_id, 0) == data.held_minor
                assert data.held_minor in {0, data.total_minor}
                posted[stream] -= data.total_minor
            case _:
                continue
        assert 0 <= sum(holds[stream].values()) <= posted[stream] <= BALANCE_MINOR_MAX
    ledger = PaperWriter(store)
    for stream, posted_minor in posted.items():
        account, held_minor = ledger.account(stream_id(stream)), sum(holds[stream].values())
        assert (posted_minor, held_minor) == (account.posted_minor, account.held_minor)
        assert account.available_minor == posted_minor - held_minor >= 0


def check_payments(ledger: PaperWriter) -> None:
    """Every payment has at most one end, is queued exactly while it has none, and moved its money exactly if it did."""
    store = ledger.store
    moved = {e.data.payment_id for e in store.events() if isinstance(e.data, AccountCredited | AccountDebited)}
    end: dict[int, str | None] = {}
    for event in store.events():
        match event.data:
            case PaymentRequested(payment_id=payment_id):
                assert payment_id not in end
                end[payment_id] = None
            case PaymentRequeued(payment_id=payment_id):
                assert end[payment_id] == "failed"
                end[payment_id] = None
            case PaymentEnded(payment_id=payment_id) as ended:
                reconciled = ended.ended_by == "reconciliation"
                assert end[payment_id] == ("failed" if reconciled else None)
                end[payment_id] = "succeeded" if isinstance(ended, PaymentSucceeded) else "failed"
            case _:
                pass
    assert {payment_id for payment_id, how in end.items() if how == "succeeded"} == moved
    assert {payment_id for payment_id, how in end.items() if how is None} == set(store.queue)
    for payment_id, how in end.items():
        payment = ledger.payment(payment_id)
        assert how == (payment.state if payment.ended else None)
        if entry := store.queue.get(payment_id):
            assert (entry.series, entry.attempt) == (payment.series, payment.attempt)
            assert (entry.gateway_key, entry.unknown) == (payment.gateway_key, payment.unknown)


@settings(deadline=None, max_examples=200)
@given(steps=STEPS)
def test_whatever_happens_no_money_is_lost_doubled_or_invented(steps: list[Step]) -> None:
    """Balances, holds, ends and the queue after every step; versions without gaps; seals and books at the end."""
    store = PaperStore()
    ledger = PaperWriter(store)
    ledger.opened("10.00")

    writers = told(ledger, steps)

    versions: dict[str, int] = defaultdict(int)
    for row in store.log:
        versions[row.originator_id] += 1
        assert versions[row.originator_id] == row.originator_version
    assert len(store.log) == store.head.position
    for writer in writers:
        writer.begin()
        for account in writer.books.accounts.values():
            assert account == ledger.account(account.account_id)
            assert store.pending_minor(account.account_id) == writer.books.pending_minor[account.id]
        for payment in writer.books.payments.values():
            assert payment == ledger.payment(payment.payment_id)


@settings(deadline=None, max_examples=100)
@given(steps=STEPS)
def test_one_batch_of_many_commands_is_as_many_batches_of_one(steps: list[Step]) -> None:
    """Each command sees the ones before it, so it does not matter how they are gathered."""
    one_by_one, together = PaperWriter(), PaperWriter()
    commands: list[AnyCommand] = [open_account("10.00")]
    one_by_one.write(*commands)
    for step in steps:
        commands.append(command_of(step, one_by_one))
        one_by_one.write(commands[-1])

    together.write(*commands)

    assert one_by_one.store.log == together.store.log
    assert one_by_one.store.queue == together.store.queue
    assert one_by_one.store.keys == together.store.keys
    assert one_by_one.store.head == together.store.head


def test_a_decision_changes_nothing_by_itself() -> None:
    """What is decided is applied by whoever asked, and only then."""
    head = Head(0, b"", BEGINNING, 1, 0)
    batch = BatchBooks(Books(capacity=10), head, at=BEGINNING, keys={})
    command: OpenAccount = open_account("10.00", idempotency_key="k")

    first, second = decide(command, batch), decide(command, batch)

    assert first == second
    assert (batch.rows, batch.keys_taken, batch.next_account_id) == ([], [], 1)
