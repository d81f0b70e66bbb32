"""The read models as functions: whatever happened, however it is cut into pages, the rows say what the events say."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Struct, field
from msgspec.structs import replace

from ledger.events import GatewayAttempted, PaymentRequested
from ledger.payment import Payment
from projections import account_balance, counters, dead_letter, journal, payment_status
from projections.account_balance import AccountBalance
from projections.dead_letter import CONTRADICTED, Letter
from projections.errors import EventNotApplicable
from projections.journal import Entry
from projections.page import Placed
from projections.payment_status import PaymentStatus
from tests.projections.histories import History, cuts, fold_accounts, fold_payments, histories

unhurried: Final = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""How long an example takes says more about what else the machine does."""


class Tables(Struct):
    """The read models in memory, and how a page is applied to them."""

    payments: dict[int, PaymentStatus] = {}
    accounts: dict[int, AccountBalance] = {}
    entries: list[Entry] = []
    letters: dict[int, Letter] = {}
    counted: Counter[str] = field(default_factory=Counter)

    def apply(self, events: Sequence[Placed]) -> None:
        """Fold a page as the projector does, and keep the rows as the statements do."""
        payments = {key: self.payments[key] for key in payment_status.payments_in(events) & self.payments.keys()}
        accounts = {key: self.accounts[key] for key in account_balance.accounts_in(events) & self.accounts.keys()}
        changes = dead_letter.fold(events, payments)
        self.letters.update((letter.payment_id, letter) for letter in changes.letters)
        for payment_id in changes.gone:
            self.letters.pop(payment_id, None)
        self.entries.extend(journal.fold(events, accounts))
        self.payments.update(payment_status.fold(events, payments))
        self.accounts.update(account_balance.fold(events, accounts))
        self.counted.update(counters.fold(events))


def tables_of(*pages: Sequence[Placed]) -> Tables:
    """Apply pages to empty tables."""
    tables = Tables()
    for events in pages:
        tables.apply(events)
    return tables


# --- properties ------------------------------------------------------------------------------------------------------


@unhurried
@given(st.data(), histories())
def test_a_history_gives_the_same_rows_however_it_is_cut_into_pages(data: st.DataObject, history: History) -> None:
    """Cutting between any two events, those of one decision too, changes nothing."""
    pages = data.draw(st.composite(cuts)(history.events))

    in_pages = tables_of(*pages)

    assert tables_of(history.events) == in_pages


@unhurried
@given(histories())
def test_accounts_are_what_the_ledger_holds_them_for(history: History) -> None:
    """A row of account_balance is the account, folded by the ledger's own rules."""
    tables = tables_of(history.events)

    rows = {key: (row.posted_minor, row.held_minor, row.version) for key, row in tables.accounts.items()}

    accounts = fold_accounts(history.events)
    assert {key: (a.posted_minor, a.held_minor, a.version) for key, a in accounts.items()} == rows


@unhurried
@given(histories())
def test_payments_are_what_the_ledger_holds_them_for(history: History) -> None:
    """A row of payment_status has the state, the flags and the figures of the payment."""
    tables = tables_of(history.events)

    rows = {
        key: (row.account_id, row.kind, row.amount_minor, row.fee_minor, row.state, row.ended_by, row.contradictions)
        for key, row in tables.payments.items()
    }

    payments = fold_payments(history.events)
    assert {
        key: (p.account_id, p.kind, p.amount_minor, p.fee_minor, p.state, p.ended_by, len(p.unreconciled))
        for key, p in payments.items()
    } == rows
    assert {key: payment.closed for key, payment in payments.items()} == {
        key: row.closed for key, row in tables.payments.items()
    }


@unhurried
@given(histories())
def test_attempts_count_all_calls_of_all_series(history: History) -> None:
    """A late answer is no further attempt, and a new series goes on counting."""
    tables = tables_of(history.events)

    attempts = Counter(
        recorded.data.payment_id
        for _, recorded in history.events
        if isinstance(recorded.data, GatewayAttempted) and not recorded.data.late
    )

    assert {key: attempts[key] for key in tables.payments} == {k: r.attempts for k, r in tables.payments.items()}


@unhurried
@given(histories())
def test_letters_are_exactly_those_of_the_payments(history: History) -> None:
    """There is a row for each payment that is a letter by its own rule, placed where it became one in that state."""
    tables = tables_of(history.events)

    payments: dict[int, Payment] = {}
    expected: dict[int, tuple[str, int]] = {}
    for position, recorded in history.events:
        for key, payment in fold_payments([(position, recorded)], payments).items():
            if payment.letter is None:
                expected.pop(key, None)
            elif expected.get(key, ("", 0))[0] != payment.letter:
                expected[key] = (payment.letter, position)
            payments[key] = payment

    assert expected == {key: (letter.state, letter.position) for key, letter in tables.letters.items()}


@unhurried
@given(histories())
def test_the_books_balance(history: History) -> None:
    """Each entry and all of them together sum to zero, and each balance goes on from the one before."""
    tables = tables_of(history.events)

    balances: defaultdict[int, int] = defaultdict(int)
    for entry in tables.entries:
        balances[entry.account_id] -= entry.customer_minor
        assert entry.balance_after_minor == balances[entry.account_id] >= 0
        assert (
            entry.customer_minor + entry.gateway_clearing_minor + entry.fee_revenue_minor + entry.opening_equity_minor
            == 0
        )

    assert dict(balances) == {key: row.posted_minor for key, row in tables.accounts.items()}


@unhurried
@given(histories())
def test_every_attempt_counts_for_exactly_one_answer_of_the_gateway(history: History) -> None:
    """The four counters of the gateway sum up to the attempts, and the states to the ends less what was requeued."""
    counted = tables_of(history.events).counted

    answers = sum(counted[name] for name in counters.NAMES if name.startswith("gateway_"))

    assert counted["payments_processing_started_total"] == answers
    requested = sum(isinstance(recorded.data, PaymentRequested) for _, recorded in history.events)
    assert requested == counted["payments_deposit_requests_total"] + counted["payments_withdraw_requests_total"]
    assert set(counted) <= set(counters.NAMES)


@unhurried
@given(histories())
def test_counters_never_go_down(history: History) -> None:
    """Each event only adds."""
    for event in history.events:
        assert min(counters.fold([event]).values(), default=1) >= 1


# --- payments, step by step ------------------------------------------------------------------------------------------


def shown(history: History, payment_id: int) -> dict[str, Any]:
    """What the client reads of a payment."""
    row = tables_of(history.events).payments[payment_id]
    return {
        "state": row.state,
        "status": row.status,
        "attempts": row.attempts,
        "last_error": row.last_error,
        "retry_in": None if row.next_retry_at is None else (row.next_retry_at - row.updated_at).total_seconds(),
    }


def as_read(
    state: str, status: str, *, attempts: int = 0, last_error: str | None = None, retry_in: float | None = None
) -> dict[str, Any]:
    """What the client is to read of it."""
    return {
        "state": state,
        "status": status,
        "attempts": attempts,
        "last_error": last_error,
        "retry_in": retry_in,
    }


WAYS: list[tuple[str, list[tuple[Any, ...]], dict[str, Any]]] = [
    ("just requested", [], as_read("new", "new")),
    (
        "turned away, to be called again",
        [("attempt", "turned_away", "retry", "refused")],
        as_read("processing", "processing", attempts=1, last_error="refused", retry_in=1.5),
    ),
    (
        "unknown, to be asked about",
        [("attempt", "unknown", "inquire", "timeout")],
        as_read("processing", "processing", attempts=1, last_error="timeout", retry_in=5.0),
    ),
    (
        "an outcome without a word for it",
        [("attempt", "unknown", "retry")],
        as_read("processing", "processing", attempts=1, last_error="unknown", retry_in=1.5),
    ),
    (
        "a word that no text column can hold",
        [("attempt", "unknown", "retry", "n\0l")],
        as_read("processing", "processing", attempts=1, last_error="n\N{REPLACEMENT CHARACTER}l", retry_in=1.5),
    ),
    (
        "approved at the second attempt",
        [("attempt", "turned_away", "retry", "refused"), ("attempt", "approved", "succeed")],
        as_read("succeeded", "success", attempts=2),
    ),
    (
        "declined",
        [("attempt", "declined", "fail", "gateway_error_400")],
        as_read("failed", "failed", attempts=1, last_error="gave_up"),
    ),
    (
        "parked in doubt",
        [("attempt", "unknown", "inquire", "timeout"), ("inquire", "no_clear_answer", "inquire")],
        as_read("in_doubt", "processing", attempts=1, last_error="timeout"),
    ),
    (
        "success learnt by inquiry",
        [("attempt", "unknown", "inquire", "timeout"), ("inquire", "approved", "succeed")],
        as_read("succeeded", "success", attempts=1),
    ),
    (
        "a late answer",
        [("attempt", "unknown", "retry", "timeout"), ("late", 1, 1)],
        as_read("succeeded", "success", attempts=1),
    ),
    (
        "requeued, not yet called",
        [("attempt", "declined", "fail", "x"), ("requeue",)],
        as_read("processing", "processing", attempts=1, last_error="gave_up"),
    ),
    (
        "requeued, called again",
        [("attempt", "declined", "fail", "x"), ("requeue",), ("attempt", "turned_away", "retry", "refused")],
        as_read("processing", "processing", attempts=2, last_error="refused", retry_in=1.5),
    ),
    (
        "failed, then contradicted",
        [("attempt", "declined", "fail", "x"), ("late", 1, 1)],
        as_read("failed", "failed", attempts=1, last_error="gave_up"),
    ),
    (
        "failed, contradicted and reconciled",
        [("attempt", "declined", "fail", "x"), ("late", 1, 1), ("resolve", "success")],
        as_read("succeeded", "success", attempts=1),
    ),
]


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


@pytest.mark.parametrize(("steps", "expected"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
def test_a_payment_is_shown_as_its_client_knows_it(steps: list[tuple[Any, ...]], expected: dict[str, Any]) -> None:
    """Each way of a payment, and what GET then says of it."""
    history = History()
    payment_id = history.deposit(history.open())

    go(history, payment_id, steps)

    assert expected == shown(history, payment_id)


def test_too_little_money_is_a_failure_and_no_letter() -> None:
    """Nothing was sent to the gateway, so there is nothing for an operator to look at."""
    history = History()

    payment_id = history.withdraw(history.open("10"), "50")

    assert as_read("failed", "failed", last_error="insufficient_funds") == shown(history, payment_id)
    assert tables_of(history.events).letters == {}


def test_a_contradicted_refusal_is_a_letter() -> None:
    """The gateway moved money for a payment that it was never told of: somebody has to look."""
    history = History()
    payment_id = history.withdraw(history.open("10"), "50")

    assert history.attempt(payment_id, "approved", "succeed")

    assert fold_payments(history.events)[payment_id].letter == "reconcile"
    assert tables_of(history.events).letters[payment_id].state == "reconcile"


# --- letters ---------------------------------------------------------------------------------------------------------

PARKED: list[tuple[Any, ...]] = [
    ("attempt", "unknown", "inquire", "timeout"),
    ("inquire", "no_clear_answer", "inquire"),
]
FAILED: list[tuple[Any, ...]] = [("attempt", "declined", "fail", "x")]
LETTERS: list[tuple[str, list[tuple[Any, ...]], tuple[str, str, int, str] | None]] = [
    ("failed", FAILED, ("failed", "gave_up", 1, "payment.failed")),
    ("in doubt", PARKED, ("in_doubt", "no_clear_answer", 1, "payment.parked")),
    ("failed after doubt", [*PARKED, ("inquire", "declined", "fail")], ("failed", "gave_up", 1, "payment.failed")),
    ("settled after doubt", [*PARKED, ("inquire", "approved", "succeed")], None),
    ("resolved as failed", [*PARKED, ("resolve", "failed")], None),
    ("resolved as success", [*PARKED, ("resolve", "success")], None),
    ("contradicted", [*FAILED, ("late", 1, 1)], ("reconcile", CONTRADICTED, 1, "payment.contradicted")),
    ("reconciled", [*FAILED, ("late", 1, 1), ("resolve", "success")], None),
    ("requeued", [*FAILED, ("requeue",)], None),
    ("failed again", [*FAILED, ("requeue",), *FAILED], ("failed", "gave_up", 2, "payment.failed")),
    (
        "settled twice",
        [*FAILED, ("requeue",), ("late", 1, 1), ("attempt", "approved", "succeed")],
        ("reconcile", CONTRADICTED, 2, "payment.succeeded"),
    ),
    (
        "in doubt, and contradicted in an earlier series",
        [*FAILED, ("requeue",), *PARKED, ("late", 1, 1)],
        ("in_doubt", "no_clear_answer", 2, "payment.parked"),
    ),
    (
        "failed after a contradiction",
        [*FAILED, ("requeue",), ("late", 1, 1), *FAILED],
        ("reconcile", CONTRADICTED, 2, "payment.failed"),
    ),
    (
        "resolved in doubt, and still contradicted in an earlier series",
        [*FAILED, ("requeue",), *PARKED, ("late", 1, 1), ("resolve", "failed")],
        ("reconcile", CONTRADICTED, 2, "payment.failed"),
    ),
    (
        "contradicted in both series, one of them reconciled",
        [*FAILED, ("requeue",), *FAILED, ("late", 1, 1), ("late", 2, 1), ("resolve", "success")],
        ("reconcile", CONTRADICTED, 2, "payment.contradicted"),
    ),
    (
        "contradicted in both series, both reconciled",
        [
            *FAILED,
            ("requeue",),
            *FAILED,
            ("late", 1, 1),
            ("late", 2, 1),
            ("resolve", "success"),
            ("resolve", "success"),
        ],
        None,
    ),
    (
        "closed, then contradicted",
        [*FAILED, ("resolve", "failed"), ("late", 1, 1)],
        ("reconcile", CONTRADICTED, 1, "payment.contradicted"),
    ),
]


@pytest.mark.parametrize(("steps", "expected"), [row[1:] for row in LETTERS], ids=[row[0] for row in LETTERS])
def test_a_letter_says_what_is_wrong_and_since_when(
    steps: list[tuple[Any, ...]], expected: tuple[str, str, int, str] | None
) -> None:
    """State, error, attempts, and the event at whose position it lies; none when nobody has to look."""
    history = History()
    payment_id = history.deposit(history.open())

    go(history, payment_id, steps)

    tables = tables_of(history.events)
    letter = tables.letters.get(payment_id)
    found = None
    if letter is not None:
        position, recorded = history.events[letter.position - 1]
        assert letter.position == position
        assert letter.created_at == recorded.at
        found = (letter.state, letter.error, letter.attempts, recorded.data.TOPIC)
    assert expected == found
    assert tables == tables_of(*([event] for event in history.events))


# --- the journal -----------------------------------------------------------------------------------------------------


def test_entries_post_to_the_four_accounts() -> None:
    """Debits are positive and credits negative; an opening of nothing is an entry too."""
    history = History()
    account_id, empty = history.open(), history.open("0")
    for payment_id in (history.deposit(account_id), history.withdraw(account_id)):
        history.attempt(payment_id, "approved", "succeed")

    entries = tables_of(history.events).entries

    assert [
        (account_id, -100_000, 0, 0, 100_000, 100_000),
        (empty, 0, 0, 0, 0, 0),
        (account_id, -19_600, 20_000, -400, 0, 119_600),
        (account_id, 5_100, -5_000, -100, 0, 114_500),
    ] == [
        (
            e.account_id,
            e.customer_minor,
            e.gateway_clearing_minor,
            e.fee_revenue_minor,
            e.opening_equity_minor,
            e.balance_after_minor,
        )
        for e in entries
    ]
    assert [entry.payment_id for entry in entries] == [None, None, 1, 1025]


def test_a_withdrawal_whose_hold_is_gone_uses_none_up() -> None:
    """It failed, so its money was set free; the success learnt later takes what is there, and no other hold."""
    history = History()
    account_id = history.open()
    payment_id, other = history.withdraw(account_id), history.withdraw(account_id, "70")
    go(history, payment_id, [*FAILED, ("late", 1, 1), ("resolve", "success")])

    row = tables_of(history.events).accounts[account_id]

    assert other != payment_id
    assert (row.posted_minor, row.held_minor) == (100_000 - 5_100, 7_140)


# --- counters --------------------------------------------------------------------------------------------------------


def test_counters_count_what_their_names_say() -> None:
    """A deposit that fails and is requeued; a withdrawal with a late answer; one without money; one in doubt."""
    history = History()
    account_id = history.open()
    first, second, third = (
        history.deposit(account_id),
        history.withdraw(account_id),
        history.withdraw(account_id, "9999"),
    )
    in_doubt = history.deposit(account_id)
    go(history, first, [*FAILED, ("requeue",), ("attempt", "approved", "succeed")])
    go(history, second, [("attempt", "unknown", "retry", "timeout"), ("attempt", "turned_away", "retry", "refused")])
    go(history, second, [("attempt", "unknown", "retry", "gateway_error_502"), ("late", 1, 1)])
    go(history, in_doubt, [*PARKED, ("resolve", "failed")])

    counted = tables_of(history.events).counted

    assert third == max(fold_payments(history.events)) - 1024
    assert dict(counted) == {
        "payments_deposit_requests_total": 2,
        "payments_withdraw_requests_total": 2,
        "payments_task_enqueued_total": 4,
        "payments_processing_started_total": 6,
        "payments_success_total": 2,
        "payments_failed_total": 3,
        "payments_retried_total": 3,
        "gateway_success_total": 1,
        "gateway_timeouts_total": 2,
        "gateway_errors_total": 2,
        "gateway_non_retryable_errors_total": 1,
        "dlq_written_total": 2,
    }


# --- what cannot be ---------------------------------------------------------------------------------------------------


def test_an_event_of_an_unknown_payment_is_not_applicable() -> None:
    """The tables and the log are then not about the same thing."""
    history = History()
    payment_id = history.deposit(history.open())
    history.attempt(payment_id, "approved", "succeed")

    with pytest.raises(EventNotApplicable) as refused:
        payment_status.fold(history.events[2:], {})

    assert (refused.value.position, refused.value.what) == (3, "payment 1 was never requested")


def test_a_payment_is_requested_once() -> None:
    """A row that is there before its request means that an event would be applied twice."""
    history = History()
    history.deposit(history.open())
    rows = payment_status.fold(history.events, {})

    with pytest.raises(EventNotApplicable, match="requested before"):
        payment_status.fold(history.events, rows)


def test_versions_of_an_account_follow_one_another() -> None:
    """An event is refused when the one before it is not in the row, or when it is itself already."""
    history = History()
    history.withdraw(history.open())
    rows = account_balance.fold(history.events, {})

    with pytest.raises(EventNotApplicable, match="version 2 of account 1 follows version 0"):
        account_balance.fold(history.events[1:], {})
    with pytest.raises(EventNotApplicable, match="version 1 of account 1 follows version 2"):
        account_balance.fold(history.events, rows)


def test_the_first_event_of_an_account_is_its_opening() -> None:
    """Nothing can be set aside from an account that was not opened, whatever its version says."""
    history = History()
    history.withdraw(history.open())
    position, held = history.events[2]

    with pytest.raises(EventNotApplicable, match="account 1 was never opened"):
        account_balance.fold([(position, replace(held, originator_version=1))], {})
