"""Idempotency keys of operators' decisions, and of openings whose currency the settings choose."""

import pytest
from msgspec.structs import asdict

from ledger.domain.commands import AnyCommand, Fail, InquireAfter, Succeed
from ledger.domain.events import IdempotencyKey, PaymentAdjusted, PaymentRequeued, PaymentResolved
from ledger.errors import AmountInvalid, ContradictionNotNamed, IdempotencyKeyReused, NotRequeueable
from tests.support.ledgers.paper import PaperWriter, adjust, deposit, open_account, requeue, resolve


@pytest.fixture
def ledger() -> PaperWriter:
    """A ledger with account 1 and its payment 1, a deposit that the gateway declined."""
    writer = PaperWriter()
    writer.opened("10.00")
    writer.requested(deposit())
    writer.told(1, "declined", Fail("declined"))
    return writer


@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(
    ("command", "fingerprint"),
    [
        (requeue(1, idempotency_key="k", ask_first=False), "requeue/1"),
        (resolve(1, "failed", idempotency_key="k"), "resolve/1/failed"),
        (adjust(idempotency_key="k"), "adjust/1/suspense/in/200"),
    ],
    ids=["requeue", "resolve", "adjust"],
)
def test_a_decision_under_the_same_key_is_carried_out_once(
    ledger: PaperWriter,
    command: AnyCommand,
    fingerprint: str,
    together: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """The second answer is the first one, and the key stands in the event."""
    first, second = ledger.write(command, command) if together else [*ledger.write(command), *ledger.write(command)]

    assert asdict(second) == {**asdict(first), "replayed": True}
    events = [each.data for each in ledger.store.events("payment-1")]
    key = IdempotencyKey(scope="payment-1", key="k", fingerprint=fingerprint)
    assert [
        event.idempotency for event in events if isinstance(event, PaymentRequeued | PaymentResolved | PaymentAdjusted)
    ] == [key]
    assert [record.idempotency for record in ledger.store.keys.values()] == [key]


def test_a_replayed_requeue_says_what_the_first_said(ledger: PaperWriter) -> None:
    """The payment may have failed again since, and is not sent to the gateway a third time."""
    first = ledger.one(requeue(1, idempotency_key="k", ask_first=False))
    ledger.told(1, "declined", Fail("declined"))

    again = ledger.one(requeue(1, idempotency_key="k", ask_first=False))

    assert (first.state, again.state, again.replayed) == ("processing", "processing", True)
    assert ledger.payment().series == 2
    assert ledger.payment().state == "failed"


def test_a_replayed_resolution_says_what_the_first_said() -> None:
    """Both outcomes have their state."""
    ledger = PaperWriter()
    ledger.opened("10.00")
    ledger.requested(deposit())
    ledger.told(1, "unknown", InquireAfter(5.0))
    ledger.inquired(1, "no_clear_answer", InquireAfter(5.0))

    first, again = (ledger.one(resolve(1, "success", idempotency_key="k")) for _ in range(2))

    assert (first.state, again.state, again.replayed) == ("succeeded", "succeeded", True)


@pytest.mark.parametrize(
    "other", [resolve(1, "failed", idempotency_key="k"), resolve(1, "success", idempotency_key="k")]
)
def test_another_decision_under_the_same_key_is_refused(ledger: PaperWriter, other: AnyCommand) -> None:
    """Another action and another outcome are other requests."""
    ledger.one(requeue(1, idempotency_key="k", ask_first=False))

    with pytest.raises(IdempotencyKeyReused):
        ledger.one(other)


def test_a_refused_decision_leaves_its_key_free(ledger: PaperWriter) -> None:
    """The operator may send it again once the payment's state allows it."""
    ledger.one(requeue(1, ask_first=False))
    with pytest.raises(NotRequeueable):
        ledger.one(requeue(1, idempotency_key="k", ask_first=False))
    ledger.told(1, "declined", Fail("declined"))

    assert ledger.one(requeue(1, idempotency_key="k", ask_first=False)).replayed is False


@pytest.mark.parametrize("letter", ["failed", "in_doubt"])
def test_a_decision_about_no_contradiction_names_none(ledger: PaperWriter, letter: str) -> None:
    """Its event would not have the name that is in the fingerprint of the request, and no audit could compare them."""
    if letter == "in_doubt":
        ledger.requeued(1, ask_first=False)
        ledger.told(1, "unknown", InquireAfter(5.0))
        ledger.inquired(1, "no_clear_answer", InquireAfter(5.0))
    before = ledger.store.log.copy()

    with pytest.raises(ContradictionNotNamed):
        ledger.one(resolve(1, "failed", idempotency_key="k", gateway_key=ledger.payment().gateway_key))

    assert (ledger.payment().letter, ledger.store.log) == (letter, before)


def test_keys_of_two_payments_are_two_keys(ledger: PaperWriter) -> None:
    """The key belongs to the payment, and is not that of the user's own request."""
    ledger.requested(deposit(idempotency_key="k"))
    ledger.told(1025, "declined", Fail("declined"))

    answers = [ledger.one(requeue(payment_id, idempotency_key="k")) for payment_id in (1, 1025)]

    assert [answer.replayed for answer in answers] == [False, False]


def test_a_decision_without_a_key_is_told_from_its_repetition_by_the_state(ledger: PaperWriter) -> None:
    """It is refused the second time."""
    ledger.one(requeue(1, ask_first=False))
    ledger.told(1, "approved", Succeed())

    with pytest.raises(NotRequeueable):
        ledger.one(requeue(1, ask_first=False))


# --- openings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", ["JPY", "BHD", "EUR"])
def test_an_opening_without_a_currency_is_the_same_request_under_other_settings(now: str) -> None:
    """It has the currency in which the first request opened the account."""
    ledger = PaperWriter()
    first = ledger.one(open_account("10.50", currency="USD", names_currency=False, idempotency_key="k"))

    again = ledger.one(open_account("10.50", currency=now, names_currency=False, idempotency_key="k"))

    assert asdict(again) == {**asdict(first), "replayed": True}
    assert again.currency == "USD"


def test_an_opening_without_a_currency_and_of_another_amount_is_refused() -> None:
    """It is another request, also when its minor units are as many."""
    ledger = PaperWriter()
    ledger.one(open_account("10.50", currency="USD", names_currency=False, idempotency_key="k"))

    with pytest.raises(IdempotencyKeyReused):
        ledger.one(open_account("1050", currency="JPY", names_currency=False, idempotency_key="k"))


def test_an_opening_that_names_another_currency_is_refused() -> None:
    """The client asks for something else than it was given."""
    ledger = PaperWriter()
    ledger.one(open_account("10.50", currency="USD", names_currency=False, idempotency_key="k"))

    with pytest.raises(IdempotencyKeyReused):
        ledger.one(open_account("10.50", currency="EUR", idempotency_key="k"))


def test_a_first_opening_without_a_currency_follows_the_settings() -> None:
    """An amount that the currency does not have is refused, and the key stays free."""
    ledger = PaperWriter()

    with pytest.raises(AmountInvalid):
        ledger.one(open_account("10.50", currency="JPY", names_currency=False, idempotency_key="k"))

    assert ledger.one(open_account("10", currency="JPY", names_currency=False, idempotency_key="k")).currency == "JPY"
