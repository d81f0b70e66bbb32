"""The read models as functions: whatever happened, however it is cut into pages, the rows say what the events say."""

from collections import Counter, defaultdict

from hypothesis import given
from hypothesis import strategies as st

from ledger.domain.events import GatewayAttempted, PaymentRequested
from ledger.domain.payment import Payment
from projections.models import counters
from projections.models.journal import PostingRow
from tests.projections.models.tables import tables_of, unhurried
from tests.support.histories import History, cuts, fold_accounts, fold_payments, histories


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
    """A late answer does not count as an attempt, and a new series goes on counting."""
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
    sums: Counter[tuple[int, str]] = Counter()
    for posting in tables.postings:
        sums[posting.position, posting.currency] += minor(posting)
        if posting.account_id is not None:
            balances[posting.account_id] -= minor(posting)
            assert posting.balance_after_minor == balances[posting.account_id] >= 0

    assert not any(sums.values())
    assert sorted(position for position, _ in sums) == [entry.position for entry in tables.entries]
    assert dict(balances) == {key: row.posted_minor for key, row in tables.accounts.items()}


def minor(posting: PostingRow) -> int:
    """A posting as one number: debits above zero, credits below."""
    return posting.amount_minor if posting.direction == "debit" else -posting.amount_minor


@unhurried
@given(histories())
def test_every_attempt_counts_for_exactly_one_answer_of_the_gateway(history: History) -> None:
    """The four counters of the gateway sum up to the attempts, and the states to the ends less the requeues."""
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
