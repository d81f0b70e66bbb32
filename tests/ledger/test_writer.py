"""The writer, against a real Postgres: what it stores, and what it makes of everything that can go wrong."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import closing, contextmanager
from decimal import Decimal
from typing import Any, TypeVar, cast

import psycopg
import pytest
from msgspec.structs import replace

from ledger.application import Ledger
from ledger.audit import verify_seals, verify_store
from ledger.commands import (
    Fail,
    InquireAfter,
    OpenAccount,
    PaymentAcceptance,
    PaymentStanding,
    RecordGatewayOutcome,
    RecordInquiry,
    RequestDeposit,
    RequestWithdrawal,
    RequeuePayment,
    ResolvePayment,
    RetryAfter,
    Succeed,
)
from ledger.database import Database
from ledger.errors import (
    AccountNotFound,
    BalanceLimitExceeded,
    CommandFailed,
    CommandRejected,
    DatabaseUnavailable,
    IdempotencyKeyReused,
    InsufficientFunds,
    LedgerError,
    LogBroken,
    OutcomeUnknown,
    PaymentNotFound,
    StaleCommand,
    WriterBusy,
    WriterStopped,
)
from ledger.fail_points import FailPoint
from ledger.money import AMOUNT_MINOR_MAX
from ledger.writer import PART_MAX, SPLIT_FROM, Writer
from tests.databases import fresh_ledger
from tests.ledger.postgres_proxy import proxy_before

FEE_RATE_PPM = 20_000
WITHIN_SECONDS = 30.0


def opening(amount: str = "1000", **more: Any) -> OpenAccount:
    return OpenAccount(command_id="open", opening=Decimal(amount), currency="USD", **more)


def deposit(amount: str = "200", *, account_id: int = 1, key: str | None = None) -> RequestDeposit:
    return RequestDeposit(
        command_id="deposit",
        account_id=account_id,
        amount=Decimal(amount),
        fee_rate_ppm=FEE_RATE_PPM,
        idempotency_key=key,
    )


def withdrawal(amount: str = "50", *, account_id: int = 1, key: str | None = None) -> RequestWithdrawal:
    return RequestWithdrawal(
        command_id="withdrawal",
        account_id=account_id,
        amount=Decimal(amount),
        fee_rate_ppm=FEE_RATE_PPM,
        idempotency_key=key,
    )


def outcome(payment_id: int = 1, **changes: Any) -> RecordGatewayOutcome:
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
    return future.result(WITHIN_SECONDS)


def given_account(writer: Writer, amount: str = "1000") -> None:
    answer(writer.submit(opening(amount)))


def in_doubt(writer: Writer, request: RequestDeposit | RequestWithdrawal) -> PaymentAcceptance:
    """Bring a payment to where the gateway could not say what became of it."""
    payment = answer(writer.submit(request))
    lost = outcome(payment.payment_id, outcome="unknown", error="timeout", then=InquireAfter(5.0))
    answer(writer.submit(lost))
    answer(writer.submit(inquiry(payment.payment_id)))
    return payment


def queue(database: Database) -> list[tuple[Any, ...]]:
    with closing(database.connect(application="test")) as connection:
        return connection.execute(
            "SELECT payment_id, action, attempt, series, gateway_key, inquiries, unknown, payment_version,"
            " extract(epoch FROM due_at - (SELECT at FROM head))::float8 FROM gateway_queue ORDER BY payment_id"
        ).fetchall()


def log_topics(database: Database) -> list[str]:
    with closing(database.connect(application="test")) as connection:
        return [row[0] for row in connection.execute("SELECT topic FROM events ORDER BY notification_id")]


@contextmanager
def holding_head(database: Database) -> Iterator[psycopg.Connection[Any]]:
    """Hold the right to append, as another writer does in the middle of a batch."""
    with closing(database.connect(application="test")) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM head FOR UPDATE")
        yield connection


def waiting_for_head(holder: psycopg.Connection[Any]) -> int:
    """Count those who wait for the right to append."""
    query = (
        "SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted"
        " AND pid IN (SELECT pid FROM pg_locks WHERE relation = 'head'::regclass)"
    )
    (count,) = holder.execute(query).fetchone() or (0,)
    return int(count)


@pytest.fixture(params=[1, PART_MAX], ids=["in_parts", "at_once"])
def part_max(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send what a batch writes after each command, or after all of them."""
    monkeypatch.setattr("ledger.writer.PART_MAX", request.param)


# --- the way of a payment --------------------------------------------------------------------------------------------


def test_a_deposit_is_credited_less_its_fee_once_the_gateway_approved(database: Database, writer: Writer) -> None:
    """200.00 at 2 % bring 196.00, and the queue entry goes with the payment's end."""
    given_account(writer)

    requested = answer(writer.submit(deposit("200")))
    queued = queue(database)
    settled = answer(writer.submit(outcome(requested.payment_id)))

    assert (requested.payment_id, requested.amount_minor, requested.fee_minor) == (1, 20_000, 400)
    assert [entry[:3] for entry in queued] == [(1, "pay", 0)]
    assert settled == PaymentStanding(payment_id=1, state="succeeded", version=3)
    assert Ledger(database).account(1).posted_minor == 119_600
    assert queue(database) == []


def test_a_withdrawal_is_held_at_once_and_debited_with_its_fee(database: Database, writer: Writer) -> None:
    """50.00 at 2 % hold 51.00 before any call, and take them once the gateway approved."""
    given_account(writer)

    requested = answer(writer.submit(withdrawal("50")))
    held = Ledger(database).account(1)
    answer(writer.submit(outcome(requested.payment_id)))
    debited = Ledger(database).account(1)

    assert (held.posted_minor, held.held_minor) == (100_000, 5_100)
    assert (debited.posted_minor, debited.held_minor) == (94_900, 0)


def test_a_withdrawal_without_cover_is_recorded_as_failed(database: Database, writer: Writer) -> None:
    """The payment is there and has failed, nothing is held and the gateway is not asked."""
    given_account(writer, "10")

    requested = answer(writer.submit(withdrawal("10", key="k")))
    again = answer(writer.submit(withdrawal("10", key="k")))

    assert requested.refused
    assert (again.payment_id, again.refused, again.replayed) == (requested.payment_id, True, True)
    assert log_topics(database) == ["account.opened", "payment.requested", "payment.failed"]
    assert queue(database) == []


@pytest.mark.usefixtures("part_max")
def test_a_whole_life_may_lie_in_one_batch(database: Database, writer: Writer) -> None:
    """What one command queues another may take out again, whether or not the first has been sent meanwhile."""
    given_account(writer)
    with holding_head(database):
        accepted = [writer.submit(deposit()), writer.submit(deposit())]
        told = [
            writer.submit(outcome(1)),
            writer.submit(outcome(1025, outcome="turned_away", error="http_500", then=RetryAfter(5.0))),
        ]

    for future in (*accepted, *told):
        answer(cast("Future[object]", future))

    assert [(row[0], row[2]) for row in queue(database)] == [(1025, 1)]
    assert Ledger(database).account(1).posted_minor == 100_000 + 19_600
    assert verify_store(database).errors == []


def test_a_retry_is_due_after_its_delay_on_the_databases_clock(database: Database, writer: Writer) -> None:
    """The delay counts from the batch's time, which is the head's."""
    given_account(writer)
    answer(writer.submit(deposit()))

    answer(writer.submit(outcome(outcome="turned_away", error="connection_refused", then=RetryAfter(2.5))))

    assert queue(database) == [(1, "pay", 1, 1, "payment-1", 0, False, 2, 2.5)]


def test_inquiries_about_a_payment_in_doubt_go_on(database: Database, writer: Writer) -> None:
    """The first answer that is none parks the payment; the next ones only move the queue entry."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))
    topics = log_topics(database)

    answer(writer.submit(inquiry(seen_version=4, inquiry=2, then=InquireAfter(20.0))))

    assert log_topics(database) == topics
    [(_, action, _, _, _, inquiries, unknown, version, due_seconds)] = queue(database)
    assert (action, inquiries, unknown, version) == ("inquire", 2, True, 4)
    assert due_seconds >= 20.0


def test_a_failed_inquiry_releases_the_hold(database: Database, writer: Writer) -> None:
    """When the gateway says that nothing moved, the payment fails for what went wrong with its last attempt."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))

    standing = answer(writer.submit(inquiry(seen_version=4, answer="declined", then=Fail())))

    ledger = Ledger(database)
    assert standing.state == "failed"
    assert ledger.account(1).available_minor == 100_000
    assert ledger.payment(1).last_error == "timeout"


def test_a_requeued_withdrawal_holds_anew_and_calls_under_a_new_key(database: Database, writer: Writer) -> None:
    """A gateway answers a used key with the old refusal, so the new series has one of its own."""
    given_account(writer)
    answer(writer.submit(withdrawal("50")))
    answer(writer.submit(outcome(outcome="declined", error="declined", then=Fail("declined"))))

    answer(writer.submit(RequeuePayment(command_id="again", payment_id=1, why="card renewed", by="ops")))

    assert Ledger(database).account(1).held_minor == 5_100
    assert [entry[:5] for entry in queue(database)] == [(1, "pay", 0, 2, "payment-1-2")]


def test_a_requeue_without_cover_is_refused(writer: Writer) -> None:
    """What the account has spent meanwhile cannot be held again."""
    given_account(writer, "60")
    answer(writer.submit(withdrawal("50")))
    answer(writer.submit(outcome(outcome="declined", error="declined", then=Fail("declined"))))
    answer(writer.submit(withdrawal("40")))

    with pytest.raises(InsufficientFunds):
        answer(writer.submit(RequeuePayment(command_id="again", payment_id=1, why="card renewed")))


@pytest.mark.parametrize(("resolution", "posted_minor"), [("success", 94_900), ("failed", 100_000)])
def test_an_operator_ends_a_payment_in_doubt(
    database: Database, writer: Writer, resolution: Any, posted_minor: int
) -> None:
    """His word uses the hold up or releases it, exactly once, and no inquiry follows."""
    given_account(writer)
    in_doubt(writer, withdrawal("50"))

    answer(writer.submit(ResolvePayment(command_id="word", payment_id=1, outcome=resolution, why="asked", by="ops")))

    account = Ledger(database).account(1)
    assert (account.posted_minor, account.held_minor) == (posted_minor, 0)
    assert queue(database) == []


def test_a_report_about_an_older_version_is_refused(writer: Writer) -> None:
    """The sender is told the version, so that it can look again."""
    given_account(writer)
    answer(writer.submit(deposit()))

    with pytest.raises(StaleCommand) as refused:
        answer(writer.submit(outcome(seen_version=7)))

    assert (refused.value.seen_version, refused.value.version) == (7, 1)


@pytest.mark.parametrize(
    ("command", "refusal"),
    [(deposit(account_id=7), AccountNotFound), (outcome(payment_id=9, account_id=7), PaymentNotFound)],
)
def test_what_does_not_exist_is_refused(writer: Writer, command: Any, refusal: type[LedgerError]) -> None:
    """Neither a user nor a payment is made up."""
    with pytest.raises(refusal):
        answer(writer.submit(command))


def test_deposits_on_their_way_count_against_the_limit(database: Database, writer: Writer) -> None:
    """Nine of the largest deposits find room, a tenth does not, and a writer that starts anew knows it too."""
    largest = str(AMOUNT_MINOR_MAX // 100)
    given_account(writer, "0")
    for _ in range(9):
        answer(writer.submit(deposit(largest)))

    with pytest.raises(BalanceLimitExceeded):
        answer(writer.submit(deposit(largest)))
    second = Writer(database)
    second.start()
    with pytest.raises(BalanceLimitExceeded):
        answer(second.submit(deposit(largest)))
    second.stop()


# --- idempotency -----------------------------------------------------------------------------------------------------


def test_a_key_used_again_gives_the_first_answer(database: Database, writer: Writer) -> None:
    """Also in the same batch, and also from a writer that never saw the first request."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit("200.00", key="k")) for _ in range(5)]
    second = Writer(database)
    second.start()

    answers = [answer(future) for future in futures]
    elsewhere = answer(second.submit(deposit("200", key="k")))
    second.stop()

    assert [one.replayed for one in answers] == [False, True, True, True, True]
    assert {one.payment_id for one in (*answers, elsewhere)} == {1}
    assert log_topics(database).count("payment.requested") == 1


def test_a_key_belongs_to_its_user_and_to_its_request(writer: Writer) -> None:
    """Another user may use the same key; the same user may not use it for something else."""
    given_account(writer)
    given_account(writer)
    first = answer(writer.submit(deposit("200", key="k")))

    other = answer(writer.submit(deposit("200", account_id=2, key="k")))

    assert (first.payment_id, other.payment_id) == (1, 1026)
    for reuse in (deposit("200.01", key="k"), withdrawal("200", key="k")):
        with pytest.raises(IdempotencyKeyReused):
            answer(writer.submit(reuse))


def test_an_account_is_opened_once_for_a_key(database: Database, writer: Writer) -> None:
    """The second request gets the first one's account, as it was opened."""
    first = answer(writer.submit(opening("5", idempotency_key="k", caller="caller")))
    answer(writer.submit(deposit("200")))

    again = answer(writer.submit(opening("5.00", idempotency_key="k", caller="caller")))

    assert (again.account_id, again.opening_minor, again.replayed) == (first.account_id, 500, True)
    assert log_topics(database).count("account.opened") == 1


@pytest.mark.parametrize("met", [True, False], ids=["who has met the other", "who has just started"])
@pytest.mark.parametrize("command", [deposit("200", key="k"), opening("5", idempotency_key="k", caller="caller")])
def test_a_key_that_another_takes_while_one_waits_counts(
    database: Database, writer: Writer, command: Any, *, met: bool
) -> None:
    """Both come while nobody has taken it, and wait for the head; the second one finds what the first has made."""
    given_account(writer)
    other = Writer(database)
    other.start()
    if met:
        answer(other.submit(deposit("1")))
        answer(writer.submit(deposit("1")))

    with holding_head(database) as holder:
        futures = [writer.submit(command), other.submit(command)]
        wait_until(lambda: waiting_for_head(holder) == 2)
    answers = [answer(future) for future in futures]
    other.stop()

    assert sorted(one.replayed for one in answers) == [False, True]
    first, second = (replace(one, replayed=False) for one in answers)
    assert first == second
    assert log_topics(database).count("payment.requested") == 2 * met + isinstance(command, RequestDeposit)


# --- several writers -------------------------------------------------------------------------------------------------


def test_two_writers_take_turns_and_agree(database: Database) -> None:
    """Each sees what the other has committed; nothing conflicts, and the log has no gap."""
    writers = [Writer(database, batch_max=7), Writer(database, batch_max=7)]
    for one in writers:
        one.start()
    given_account(writers[0], "100")

    futures = [writers[n % 2].submit(withdrawal("1")) for n in range(300)]
    answers = [answer(future) for future in futures]
    for one in writers:
        one.stop()

    accepted = [one for one in answers if not one.refused]
    account = Ledger(database).account(1)
    assert len(accepted) == 98  # 98 times 1.02 out of 100.00
    assert len({one.payment_id for one in answers}) == 300
    assert account.held_minor == 98 * 102
    assert verify_seals(database).ok


def test_a_writer_far_behind_reads_anew(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """More events than it wants to catch up with make it forget what it knows."""
    monkeypatch.setattr("ledger.writer.CATCH_UP_MAX", 2)
    behind, ahead = Writer(database), Writer(database)
    behind.start()
    ahead.start()
    given_account(behind)
    for _ in range(3):
        answer(ahead.submit(withdrawal("100")))

    requested = answer(behind.submit(withdrawal("700")))
    behind.stop()
    ahead.stop()

    assert requested.refused


def test_a_bounded_cache_changes_no_answer(database: Database) -> None:
    """A writer that can remember one account and one payment decides as one that remembers all."""
    writer = Writer(database, cache_capacity=1)
    writer.start()
    for _ in range(3):
        given_account(writer, "10")

    for account_id in (1, 2, 3, 1, 2, 3):
        answer(writer.submit(withdrawal("4", account_id=account_id)))
    refused = [answer(writer.submit(withdrawal("4", account_id=n))).refused for n in (1, 2, 3)]
    writer.stop()

    assert refused == [True, True, True]


# --- what can go wrong -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("part_max")
def test_a_poisonous_command_is_refused_alone(database: Database, writer: Writer) -> None:
    """What the database cannot store, such as NUL in a key, spoils no other command of the batch."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit(key=key)) for key in ("a", "b\0", "c")]

    first, poisonous, last = (answer_or_error(future) for future in futures)

    assert isinstance(first, PaymentAcceptance)
    assert isinstance(poisonous, CommandRejected)
    assert isinstance(last, PaymentAcceptance)
    assert log_topics(database).count("payment.requested") == 2
    assert verify_seals(database).ok


@pytest.mark.parametrize("cut", ["before_commit", "after_commit", "late_commit", "any_query"])
def test_a_connection_lost_around_the_commit_neither_loses_nor_doubles(postgres_url: str, cut: Any) -> None:
    """Whether the COMMIT arrived is found out by the seal at the batch's last position."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema))
        writer.start()
        given_account(writer)

        proxy.cut = cut
        requested = answer(writer.submit(deposit("200")))
        writer.stop()

        assert proxy.cuts == 1
        assert requested.payment_id == 1
        assert log_topics(database).count("payment.requested") == 1
        assert verify_seals(database).ok


def test_a_mistake_after_the_commit_is_not_taken_for_one_before(
    database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The batch is stored and may not be written again; its callers hear that nobody knows."""
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


def test_a_batch_without_events_survives_a_lost_commit(postgres_url: str) -> None:
    """It leaves nothing in the log to be recognised by, so it is done again, which changes nothing."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema))
        writer.start()
        given_account(writer)
        in_doubt(writer, withdrawal("50"))

        proxy.cut = "after_commit"
        standing = answer(writer.submit(inquiry(seen_version=4, inquiry=2)))
        writer.stop()

        assert proxy.cuts == 1
        assert standing.state == "in_doubt"


def test_a_database_that_stays_away_refuses_commands_and_is_used_again_when_back(postgres_url: str) -> None:
    """The caller gets a refusal that says to try again; nothing is written behind his back."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), patience_seconds=0.3)
        writer.start()
        given_account(writer)

        proxy.refusing = True
        proxy.lose_all()
        with pytest.raises(DatabaseUnavailable):
            answer(writer.submit(deposit("200")))
        proxy.refusing = False
        requested = answer(writer.submit(deposit("200")))
        writer.stop()

        assert requested.payment_id == 1


def test_a_commit_that_cannot_be_looked_up_is_answered_as_unknown(postgres_url: str) -> None:
    """The client may ask again with the same key, and gets what became of it."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), patience_seconds=0.3)
        writer.start()
        given_account(writer)

        proxy.refuse_after_cut, proxy.cut = True, "after_commit"
        with pytest.raises(OutcomeUnknown):
            answer(writer.submit(deposit("200", key="k")))
        proxy.refusing = False
        again = answer(writer.submit(deposit("200", key="k")))
        writer.stop()

        assert (again.payment_id, again.replayed) == (1, True)


@pytest.mark.usefixtures("part_max")
def test_a_mistake_of_ours_spoils_no_other_command(database: Database, writer: Writer) -> None:
    """An amount that is no number breaks the decision, which no refusal foresees."""
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
    """Half of a surrogate pair can be in a string and not in UTF-8."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(command) for command in (deposit(key="a"), deposit(key="\ud800"), deposit(key="b"))]

    first, failed, last = (answer_or_error(future) for future in futures)

    assert isinstance(failed, CommandRejected | CommandFailed)
    assert (first.payment_id, last.payment_id) == (1, 1025)


def test_a_store_without_its_head_is_named_and_used_again_when_mended(database: Database, writer: Writer) -> None:
    """Nothing can be written then; every command says why, and the writer lives on."""
    given_account(writer)
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM head")
        owner.execute("DELETE FROM head")

        with pytest.raises(LogBroken):
            answer(writer.submit(deposit()))

        owner.execute("INSERT INTO head SELECT * FROM kept")
    assert answer(writer.submit(deposit())).payment_id == 1


@contextmanager
def losing_what_follows(database: Database) -> Iterator[None]:
    """Take the ledger back to where it was, as when a standby is promoted that had not received everything."""
    with closing(database.connect(application="test", owner=True)) as owner:
        owner.execute("CREATE TEMP TABLE kept AS SELECT * FROM head")
        yield
        owner.execute("DELETE FROM events WHERE notification_id > (SELECT position FROM kept)")
        owner.execute("DELETE FROM gateway_queue")
        owner.execute("UPDATE head SET (position, digest, next_payment_sequence)"
                      " = (SELECT position, digest, next_payment_sequence FROM kept)")  # fmt: skip


def test_a_log_that_went_another_way_is_read_anew(database: Database, writer: Writer) -> None:
    """What the writer remembers never happened, although the log is as long again."""
    given_account(writer)
    with losing_what_follows(database):
        answer(writer.submit(withdrawal("900")))
    other = Writer(database)
    other.start()
    for _ in range(2):
        answer(other.submit(withdrawal("10")))
    other.stop()

    requested = answer(writer.submit(withdrawal("900")))

    assert (requested.payment_id, requested.refused) == (2049, False)
    assert verify_seals(database).ok


@pytest.mark.parametrize("overtaken", [False, True])
@pytest.mark.parametrize("lost", [deposit("900"), withdrawal("900")])
def test_a_log_that_lost_its_end_is_read_anew(
    database: Database, writer: Writer, lost: RequestDeposit | RequestWithdrawal, *, overtaken: bool
) -> None:
    """By one event as well as by several, and for a writer that others have overtaken as for one that is alone."""
    given_account(writer)
    if overtaken:
        other = Writer(database)
        other.start()
        answer(other.submit(deposit("1")))
        other.stop()
    with losing_what_follows(database):
        answer(writer.submit(lost))

    requested = answer(writer.submit(withdrawal("900")))

    assert (requested.payment_id, requested.refused) == (1025 if overtaken else 1, False)
    assert verify_seals(database).ok


def test_a_caller_that_cancels_takes_nothing_with_him(database: Database, writer: Writer) -> None:
    """His command may still be carried out; the others get their answers."""
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit()) for _ in range(3)]
        futures[1].cancel()

    assert {answer(futures[0]).payment_id, answer(futures[2]).payment_id} == {1, 2049}
    assert answer(writer.submit(deposit())).payment_id == 3073


def test_a_writer_that_never_reaches_its_database_refuses_and_stops() -> None:
    """Nothing listens there, and nothing has to be closed."""
    writer = Writer(Database("postgresql://127.0.0.1:1/nowhere"), patience_seconds=0.1)
    writer.start()

    with pytest.raises(DatabaseUnavailable):
        answer(writer.submit(deposit()))

    writer.stop()


# --- back-pressure and stopping --------------------------------------------------------------------------------------


def test_more_commands_than_may_wait_are_refused(database: Database) -> None:
    """None of several handed over together is taken when not all find room."""
    writer = Writer(database, queue_max=3)
    writer.start()
    given_account(writer)
    with holding_head(database):
        first = writer.submit(deposit())
        wait_until(lambda: writer.waiting == 0)
        waiting = [writer.submit(deposit()) for _ in range(3)]

        with pytest.raises(WriterBusy):
            writer.submit(deposit())

    assert {answer(future).payment_id for future in (first, *waiting)} == {1, 1025, 2049, 3073}
    writer.stop()


def test_of_many_that_came_one_by_one_half_are_written_first(database: Database, writer: Writer) -> None:
    """The others follow while the first are answered; what came together is written together."""
    given_account(writer)
    with holding_head(database):
        alone = writer.submit(deposit())
        wait_until(lambda: writer.waiting == 0)
        futures = [writer.submit(deposit()) for _ in range(SPLIT_FROM)]
    payments = [answer(future) for future in (alone, *futures)]

    async def ask_together() -> list[PaymentAcceptance | LedgerError]:
        return await writer.execute_all([deposit() for _ in range(SPLIT_FROM)])

    together = cast("list[PaymentAcceptance]", asyncio.run(ask_together()))

    batches = Counter(payment.requested_at for payment in payments)
    assert list(batches.values()) == [1, SPLIT_FROM // 2, SPLIT_FROM // 2]
    assert len({payment.requested_at for payment in together}) == 1


def test_stopping_writes_what_was_taken_and_refuses_the_rest(database: Database) -> None:
    """Whoever was accepted gets his answer; whoever comes later is told that the writer has stopped."""
    writer = Writer(database)
    writer.start()
    given_account(writer)
    with holding_head(database):
        futures = [writer.submit(deposit()) for _ in range(20)]
        stopping = threading.Thread(target=writer.stop)
        stopping.start()
        wait_until(lambda: refuses(writer))

    stopping.join()

    assert len({answer(future).payment_id for future in futures}) == 20


def test_what_cannot_be_written_in_time_is_refused_at_the_stop(postgres_url: str) -> None:
    """Nothing is silently dropped: every future has an answer when the writer has stopped."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), batch_max=1)
        writer.start()
        given_account(writer)
        with holding_head(database):
            futures = [writer.submit(deposit()) for _ in range(3)]
            wait_until(lambda: writer.waiting == 2)
            stopping = threading.Thread(target=writer.stop, kwargs={"timeout_seconds": 0.1})
            stopping.start()
            done, _ = wait(futures[1:], WITHIN_SECONDS)
            refusals = [future.exception() for future in done]

        stopping.join()

        assert [type(refusal) for refusal in refusals] == [WriterStopped, WriterStopped]
        assert answer(futures[0]).payment_id == 1


# --- from an event loop ----------------------------------------------------------------------------------------------


def test_an_event_loop_gets_answers_and_refusals(writer: Writer) -> None:
    """Several commands together fail singly; one alone raises its refusal."""

    async def ask() -> tuple[list[PaymentAcceptance | LedgerError], bool]:
        await writer.execute(opening())
        several = await writer.execute_all([deposit("1"), deposit("1", account_id=9), withdrawal("1")])
        try:
            await writer.execute(deposit("1", account_id=9))
        except AccountNotFound:
            return several, True
        return several, False

    several, refused = asyncio.run(ask())

    assert [type(one) for one in several] == [PaymentAcceptance, AccountNotFound, PaymentAcceptance]
    assert refused


def test_a_caller_that_has_gone_does_not_stop_its_payment(database: Database, writer: Writer) -> None:
    """A client that hangs up while its payment is written has made a payment all the same."""
    given_account(writer)

    async def ask_and_leave() -> None:
        task = asyncio.create_task(writer.execute(deposit()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with holding_head(database):
        asyncio.run(ask_and_leave())

    assert answer(writer.submit(deposit())).payment_id == 1025
    assert log_topics(database).count("payment.requested") == 2


# --- parts -----------------------------------------------------------------------------------------------------------


def answer_or_error(future: "Future[Any]") -> Any:
    return future.exception(WITHIN_SECONDS) or future.result()


def refuses(writer: Writer) -> bool:
    try:
        writer.submit(deposit(account_id=99))
    except WriterStopped:
        return True
    return False


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)
