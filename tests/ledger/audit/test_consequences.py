"""The audit compares keys, snapshots, queue and head with the events that they follow from."""

import re
from collections.abc import Iterator

import pytest

from ledger.audit.verify import verify_store
from tests.support.ledgers.busy import QUEUED
from tests.support.ledgers.kept import KeptStore, found, kept_store, rewrite, where


@pytest.fixture(scope="module")
def busy(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture
def store(busy: KeptStore) -> Iterator[KeptStore]:
    """Yield the same store, and restore it afterwards."""
    yield busy
    busy.restore()


def position_of(store: KeptStore, topic: str, *, nth: int = 0) -> int:
    rows = store.ask("SELECT notification_id FROM events WHERE topic = %(topic)s ORDER BY 1", topic=topic)
    position: int = rows[nth][0]
    return position


# --- idempotency keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["account 1", "approved", "too much", "requeued", "resolved"])
def test_a_missing_key_is_found_at_the_event_that_took_it(store: KeptStore, key: str) -> None:
    """Without the key, a client that sends its request again would pay again."""
    store.run("DELETE FROM idempotency_keys WHERE key = %(key)s", key=key)

    ((position,),) = store.ask(
        "SELECT notification_id FROM events WHERE position(%(key)s IN convert_from(state, 'UTF8')) > 0",
        key=f'"key":"{key}"',
    )
    assert found(verify_store(store.database)) == [(position, f"the idempotency key {key!r} is missing")]


@pytest.mark.parametrize(
    "change",
    ["subject_id = 2", "subject_kind = 'account'", "fingerprint = 'deposit/1/1'", "fingerprint_version = 2"],
)
def test_a_key_of_another_subject_is_found(store: KeptStore, change: str) -> None:
    """This holds for each column."""
    store.run(f"UPDATE idempotency_keys SET {change} WHERE key = 'approved'")

    position = position_of(store, "payment.requested", nth=1)
    assert (position, "the stored idempotency key 'approved' does not match the event") in found(
        verify_store(store.database)
    )


@pytest.mark.parametrize(("kind", "subject", "nth"), [("account", 2, 1), ("account", 99, None)])
def test_a_key_without_an_event_is_found(store: KeptStore, kind: str, subject: int, nth: int | None) -> None:
    """It is reported at its subject's event, or at the log's end if that event does not exist."""
    store.run(
        "INSERT INTO idempotency_keys VALUES ('x', 'forged', %(kind)s, %(subject)s, 1, 'open/1/USD')",
        kind=kind,
        subject=subject,
    )

    position = store.events if nth is None else position_of(store, "account.opened", nth=nth)
    assert found(verify_store(store.database)) == [(position, "no event used the idempotency key 'forged' of 'x'")]


def test_a_key_of_a_decision_that_nobody_made_is_found(store: KeptStore) -> None:
    """It is looked for in all events of its payment, and reported at the first."""
    position = position_of(store, "payment.requested", nth=1)
    ((stream,),) = store.ask("SELECT originator_id FROM events WHERE notification_id = %(at)s", at=position)
    store.run(
        "INSERT INTO idempotency_keys VALUES (%(scope)s, 'forged', 'payment', %(subject)s, 1, 'requeue/1')",
        scope=stream,
        subject=int(stream.removeprefix("payment-")),
    )

    what = f"no event used the idempotency key 'forged' of {stream!r}"
    assert found(verify_store(store.database)) == [(position, what)]


def test_a_key_of_an_unreadable_event_is_not_reported(store: KeptStore) -> None:
    """Only the event is reported, even if its seal is right."""
    position = position_of(store, "account.opened", nth=1)
    rewrite(store, position, state=b"{")

    report = verify_store(store.database)

    assert where(report)[0] == position
    assert "the event cannot be read" in report.errors[0].what
    assert [what for _, what in found(report) if "idempotency" in what] == []


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_there_are_snapshots_to_be_checked(store: KeptStore) -> None:
    """The account with many events has many of them."""
    kept = store.ask("SELECT originator_version FROM snapshots WHERE originator_id = 'account-5' ORDER BY 1")

    assert kept == [(version,) for version in range(4, 124, 4)]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            r"""state = regexp_replace(convert_from(state, 'UTF8'), '"posted_minor":1', '"posted_minor":2')::bytea""",
            "the snapshot of account-5 at version 100 does not match its events",
        ),
        ("state = '{'", "the snapshot of account-5 cannot be read: "),
        (r"state = '\xff'", "the snapshot of account-5 cannot be read: "),
    ],
)
def test_a_wrong_snapshot_is_found_at_its_event(store: KeptStore, change: str, what: str) -> None:
    """An unreadable snapshot is found too. Either one would be read in place of the events."""
    store.run(f"UPDATE snapshots SET {change} WHERE originator_version = 100")

    ((position,),) = store.ask(
        "SELECT notification_id FROM events WHERE originator_id = 'account-5' AND originator_version = 100"
    )
    assert [(place, said[: len(what)]) for place, said in found(verify_store(store.database))] == [(position, what)]


def test_a_snapshot_of_another_shape_is_ignored(store: KeptStore) -> None:
    """No program reads it, so its contents do not matter."""
    store.run("UPDATE snapshots SET topic = 'account.snapshot/0', state = '{}'")

    assert verify_store(store.database).ok


@pytest.mark.parametrize(
    ("stream", "version"), [("account-1", 9_999), ("account-77", 1), ("payment-4", 1), ("something", 1)]
)
def test_a_snapshot_without_an_account_is_found(store: KeptStore, stream: str, version: int) -> None:
    """It would be read as the account."""
    store.run(
        "INSERT INTO snapshots SELECT %(stream)s, %(version)s, topic, state FROM snapshots LIMIT 1",
        stream=stream,
        version=version,
    )

    what = f"the snapshot of {stream} at version {version} has no event of an account"
    assert found(verify_store(store.database)) == [(store.events, what)]


# --- the gateway queue -----------------------------------------------------------------------------------------------


ASKED_LATE = "action = 'inquire_late'"


def queued(store: KeptStore) -> dict[int, int]:
    """The payments in the queue, and the positions of their last events."""
    return dict(
        store.ask(
            "SELECT q.payment_id, max(e.notification_id) FROM gateway_queue AS q"
            " JOIN events AS e ON e.originator_id = 'payment-' || q.payment_id GROUP BY 1 ORDER BY 1"
        )
    )


def test_an_open_payment_without_an_entry_is_found(store: KeptStore) -> None:
    """The gateway would never be called for it."""
    late = {payment_id for (payment_id,) in store.ask(f"SELECT payment_id FROM gateway_queue WHERE {ASKED_LATE}")}
    for payment_id, position in queued(store).items():
        store.run("DELETE FROM gateway_queue WHERE payment_id = %(payment_id)s", payment_id=payment_id)

        why = "to be asked about late" if payment_id in late else "open"
        what = f"payment {payment_id} is {why}, but it is not in the gateway queue"
        assert found(verify_store(store.database)) == [(position, what)]
        store.restore()


@pytest.mark.parametrize("payment_id", [1, 77_777])
def test_an_entry_of_a_payment_that_is_not_open_is_found(store: KeptStore, payment_id: int) -> None:
    """The gateway would be called for nothing."""
    store.run(
        "INSERT INTO gateway_queue (payment_id, account_id, kind, amount_minor, fee_minor, currency, series,"
        " gateway_key, attempt, action, inquiries, unknown, payment_version, due_at)"
        " VALUES (%(id)s, 1, 'deposit', 1, 0, 'USD', 1, 'x', 0, 'pay', 0, false, 1, now())",
        id=payment_id,
    )

    what = f"payment {payment_id} is in the gateway queue, but it is not open"
    assert found(verify_store(store.database)) == [(store.events, what)]


@pytest.mark.parametrize(
    "change",
    [
        "account_id = account_id + 1",
        "kind = CASE kind WHEN 'deposit' THEN 'withdraw' ELSE 'deposit' END",
        "amount_minor = amount_minor + 1",
        "fee_minor = fee_minor - 1",
        "currency = 'XXX'",
        "series = series + 1",
        "gateway_key = gateway_key || '0'",
        "payment_version = payment_version + 5",
        "payment_version = payment_version - 1",
        "attempt = attempt + 1",
        "action = CASE action WHEN 'pay' THEN 'inquire' ELSE 'pay' END",
        "unknown = NOT unknown",
        "inquiries = CASE inquiries WHEN 0 THEN 1 ELSE 0 END",
    ],
)
def test_an_entry_that_differs_from_the_events_is_found(store: KeptStore, change: str) -> None:
    """This holds for each column, and for payments in each state."""
    column = change.partition(" ")[0]
    for payment_id, position in queued(store).items():
        store.run(f"UPDATE gateway_queue SET {change} WHERE payment_id = {payment_id}")

        assert (position, True) in [
            (error.position, f"{column} of payment {payment_id} is" in error.what)
            for error in verify_store(store.database).errors
        ]
        store.restore()


def test_a_wrong_due_time_is_found_if_events_have_it(store: KeptStore) -> None:
    """No event has the time of a later inquiry about a payment in doubt; a late one may be repeated after its time.

    A call that got a 429 is due later, without an event.
    """
    store.run("UPDATE gateway_queue SET due_at = due_at + interval '1 microsecond'")

    repeated = store.ask(f"SELECT payment_id FROM gateway_queue WHERE inquiries > 0 OR {ASKED_LATE}")
    assert len(repeated) == 2
    free = repeated + store.ask("SELECT payment_id FROM gateway_queue WHERE action = 'pay'")
    expected = [position for payment_id, position in queued(store).items() if (payment_id,) not in free]
    assert expected
    assert where(verify_store(store.database)) == sorted(expected)


def test_a_payment_without_a_next_step_is_found(store: KeptStore) -> None:
    """It is reported at its last event, for any queue entry."""
    position = position_of(store, "payment.gateway_attempted", nth=12)
    ((stream, state),) = store.ask(
        "SELECT originator_id, state FROM events WHERE notification_id = %(position)s", position=position
    )
    without = re.sub(rb',"retry_at":"[^"]*"', b"", state)
    rewrite(store, position, without)

    errors = found(verify_store(store.database))
    assert without != state
    assert [(place, what[-45:]) for place, what in errors] == [
        (position, f"the gateway of {stream}, which is missing"[-45:]),
        (position, "is open, but no event schedules its next call"),
    ]


def test_the_entry_of_an_unreadable_payment_is_not_checked(store: KeptStore) -> None:
    """The unreadable event is reported. Whether the payment is open is unknown."""
    for position in queued(store).values():
        rewrite(store, position, b"{")

        assert where(verify_store(store.database))[0] == position
        assert "gateway queue" not in str(verify_store(store.database).errors)
        store.restore()


def test_a_claim_is_not_a_finding(store: KeptStore) -> None:
    """A claim counts a call before it is made, and does not count an inquiry."""
    lease = "leased_until = now(), leased_by = 'a worker'"
    store.run(f"UPDATE gateway_queue SET {lease}, attempt = attempt + CASE action WHEN 'pay' THEN 1 ELSE 0 END")

    assert verify_store(store.database).ok


def test_a_claim_that_has_not_counted_its_call_is_found(store: KeptStore) -> None:
    """The outcome of the earlier call would be recorded as that of this one."""
    store.run("UPDATE gateway_queue SET leased_until = now(), leased_by = 'a worker' WHERE action = 'pay'")

    errors = verify_store(store.database).errors
    assert len(errors) == len(store.ask("SELECT 1 FROM gateway_queue WHERE action = 'pay'"))
    assert all("attempt of payment" in error.what for error in errors)


def test_an_inactive_store_has_an_empty_queue(store: KeptStore) -> None:
    """It calls no gateway, so an empty queue is right, and entries are wrong."""
    store.run("UPDATE log_head SET inactive = true")
    with_entries = verify_store(store.database)
    store.run("DELETE FROM gateway_queue")
    without = verify_store(store.database)

    assert len(with_entries.errors) == QUEUED
    assert without.ok


# --- other columns of the head ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["next_account_id", "next_payment_sequence"])
@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_counters_are_found(store: KeptStore, column: str, change: int) -> None:
    """An id would be given twice, or left out."""
    store.run(f"UPDATE log_head SET {column} = {column} + {change}")

    what = "the head's counters do not match the accounts and payments in the log"
    assert found(verify_store(store.database)) == [(store.events, what)]


def test_a_head_whose_time_was_set_back_is_found(store: KeptStore) -> None:
    """The next event would be earlier than the last one."""
    store.run("UPDATE log_head SET at = at - interval '1 second'")

    what = "the head's time is earlier than that of the last event"
    assert found(verify_store(store.database)) == [(store.events, what)]
