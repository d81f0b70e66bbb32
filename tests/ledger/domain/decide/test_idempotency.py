"""Idempotency keys of deposits, withdrawals and openings."""

from datetime import timedelta

import pytest
from msgspec.structs import asdict

from ledger.domain.commands import AnyCommand, Fail, Succeed
from ledger.domain.decision import IdempotencyRecord
from ledger.domain.events import IdempotencyKey, PaymentRequested
from ledger.domain.identifiers import FINGERPRINT_VERSION
from ledger.errors import AmountInvalid, CurrencyNotSupported, IdempotencyKeyReused
from tests.support.ledgers.paper import PaperWriter, deposit, open_account, withdrawal


def test_a_key_is_kept_with_the_request_that_took_it(ledger: PaperWriter) -> None:
    """The event stores the key too, so the table of keys can be rebuilt from the log."""
    ledger.one(deposit("2.00", idempotency_key="k"))

    idempotency = IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/200", fingerprint_version=1)
    assert ledger.store.keys == {
        ("user-1", "k"): IdempotencyRecord(subject_kind="payment", subject_id=1, idempotency=idempotency)
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
    """In the same batch or later, also after a change of the fee. A refusal for too little money is an answer too."""
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
    """The payment has failed, was requeued, and succeeded: the client gets the first answer each time."""
    first = ledger.one(withdrawal(idempotency_key="k"))

    answers = []
    ledger.told(1, "declined", Fail())
    answers.append(ledger.one(withdrawal(idempotency_key="k")))
    ledger.requeued(1, ask_first=False)
    answers.append(ledger.one(withdrawal(idempotency_key="k")))
    ledger.told(1, "approved", Succeed())
    answers.append(ledger.one(withdrawal(idempotency_key="k")))

    assert [{**asdict(first), "replayed": True}] * 3 == [asdict(answer) for answer in answers]


def test_a_replay_is_answered_whatever_currencies_the_gateway_moves_by_now(ledger: PaperWriter) -> None:
    """The first answer stays; a new request is refused, and nothing is written."""
    first = ledger.one(deposit(idempotency_key="k"))
    before = ledger.store.log.copy()

    again = ledger.one(deposit(idempotency_key="k", currencies=frozenset({"JPY"})))
    with pytest.raises(CurrencyNotSupported):
        ledger.one(deposit(currencies=frozenset({"JPY"})))

    assert asdict(again) == {**asdict(first), "replayed": True}
    assert before == ledger.store.log


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("other", [deposit("2.01", idempotency_key="k"), withdrawal("2.00", idempotency_key="k")])
def test_another_request_under_the_same_key_is_refused(
    ledger: PaperWriter,
    other: AnyCommand,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """The amount or the route is another. The first request is not affected."""
    first = deposit("2.00", idempotency_key="k")
    answers = ledger.write(first, other) if together else [*ledger.write(first), *ledger.write(other)]

    assert isinstance(answers[1], IdempotencyKeyReused)
    assert answers[1].facts == {"key": "k"}
    assert list(ledger.store.queue) == [1]


def test_keys_of_two_users_are_two_keys(ledger: PaperWriter) -> None:
    """Each user has a scope of their own, and each caller that opens accounts has one too."""
    ledger.opened("10.00", idempotency_key="k", caller="shop")

    first, second = ledger.write(deposit(account_id=1, idempotency_key="k"), deposit(account_id=2, idempotency_key="k"))

    assert (first.payment_id, second.payment_id) == (1, 1026)
    assert not second.replayed


def test_a_refused_request_leaves_its_key_free(ledger: PaperWriter) -> None:
    """The client may correct the request and send it under the same key."""
    with pytest.raises(AmountInvalid):
        ledger.one(deposit("0", idempotency_key="k"))

    assert ledger.one(deposit("1", idempotency_key="k")).replayed is False


@pytest.mark.parametrize("together", [True, False])
def test_an_account_is_opened_once_under_a_key(together: bool) -> None:  # noqa: FBT001 - a case of the table
    """Also in one batch. The answer is the first one, also after the balance has changed."""
    ledger = PaperWriter()
    command = open_account("10.00", idempotency_key="k", caller="shop")
    again = open_account("10", idempotency_key="k", caller="shop")

    first, second = ledger.write(command, again) if together else [*ledger.write(command), *ledger.write(again)]

    assert asdict(second) == {**asdict(first), "replayed": True}
    assert ledger.store.head.next_account_id == 2
    fingerprint = IdempotencyKey(scope="caller-shop", key="k", fingerprint="open/1000/USD")
    assert list(ledger.store.keys.values()) == [
        IdempotencyRecord(subject_kind="account", subject_id=1, idempotency=fingerprint)
    ]


@pytest.mark.parametrize("other", [{"opening": "10.01"}, {"opening": "10.00", "currency": "EUR"}])
def test_another_opening_under_the_same_key_is_refused(other: dict[str, str]) -> None:
    """Another balance or another currency."""
    ledger = PaperWriter()
    ledger.one(open_account("10.00", idempotency_key="k"))

    with pytest.raises(IdempotencyKeyReused):
        ledger.one(open_account(**other, idempotency_key="k"))


def test_openings_without_a_key_are_all_different() -> None:
    """Without a key, each request opens an account."""
    ledger = PaperWriter()

    first, second = ledger.write(open_account(), open_account())

    assert (first.account_id, second.account_id) == (1, 2)
