"""Commands that cannot be decided or stored, next to commands that can."""

import pytest

from ledger.audit.verify import verify_seals
from ledger.domain.commands import PaymentAcceptance, RequestDeposit
from ledger.errors import CommandFailed, CommandRejected, OutcomeUnknown
from ledger.fail_points import FailPoint
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.ledgers.running_writer import (
    answer,
    answer_or_error,
    deposit,
    given_account,
    holding_head,
    log_topics,
)


@pytest.mark.usefixtures("part_max")
def test_a_poisonous_command_is_refused_alone(database: Database, writer: Writer) -> None:
    """The database cannot store NUL in a key. The other commands of the batch are written."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit(key=key)) for key in ("a", "b\0", "c")]

    first, poisonous, last = (answer_or_error(future) for future in futures)

    assert isinstance(first, PaymentAcceptance)
    assert isinstance(poisonous, CommandRejected)
    assert isinstance(last, PaymentAcceptance)
    assert log_topics(database).count("payment.requested") == 2
    assert verify_seals(database).ok


def test_a_mistake_after_the_commit_is_not_taken_for_one_before(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is stored and must not be written again. Its callers get OutcomeUnknown."""
    given_account(writer)

    def trip(place: FailPoint) -> None:
        if place == "writer.after_commit":
            raise RuntimeError("a mistake of ours")

    with monkeypatch.context() as tripping:
        tripping.setattr("ledger.fail_points._reached", trip)
        with pytest.raises(OutcomeUnknown):
            answer(writer.submit(deposit("200")))

    assert log_topics(database).count("payment.requested") == 1
    assert answer(writer.submit(deposit("200"))).payment_id == 1025


@pytest.mark.usefixtures("part_max")
def test_a_mistake_of_ours_spoils_no_other_command(database: Database, writer: Writer) -> None:
    """The amount is a string, so deciding raises an error that is not a refusal."""
    given_account(writer)
    broken = RequestDeposit(command_id="x", account_id=1, amount="200", fee_rate_ppm=1)  # type: ignore[arg-type]
    with holding_head(database):
        futures = [writer.submit(command) for command in (deposit(), broken, deposit())]

    first, failed, last = (answer_or_error(future) for future in futures)

    assert isinstance(failed, CommandFailed)
    assert "AttributeError" in failed.what
    assert (first.payment_id, last.payment_id) == (1, 1025)
    assert verify_seals(database).ok


@pytest.mark.usefixtures("part_max")
def test_a_text_that_has_no_bytes_spoils_no_other_command(database: Database, writer: Writer) -> None:
    """A Python string can hold half of a surrogate pair, UTF-8 cannot."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(command) for command in (deposit(key="a"), deposit(key="\ud800"), deposit(key="b"))]

    first, failed, last = (answer_or_error(future) for future in futures)

    assert isinstance(failed, CommandRejected | CommandFailed)
    assert (first.payment_id, last.payment_id) == (1, 1025)
