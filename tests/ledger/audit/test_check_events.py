"""The audit and the import refuse each event that this program could not have written, even under a right seal."""

import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal, NamedTuple, get_args, get_origin, get_type_hints

import msgspec
import pytest
from psycopg import Connection

from ledger.audit.check_events import DELAY_MAX, FREE_FIELDS, RULES, wrong_with_event
from ledger.audit.check_hash_chain import SealedRow
from ledger.audit.check_streams import Replay
from ledger.audit.findings import Findings
from ledger.domain.events import EVENT_BY_TOPIC, AnyEvent, IdempotencyKey, Recorded
from ledger.domain.identifiers import SEQUENCE_MAX
from ledger.store.serialization import decode, encode
from tests.support.ledgers.kept import KeptStore, kept_store
from tests.support.ledgers.written import (
    START,
    adjusted,
    approved,
    attempted,
    declined,
    failed,
    inquired,
    log,
    lost,
    opened,
    recovered,
    requested,
    requeued,
    resolved,
)

NOW: Final = START + timedelta(days=1)
OPENING: Final = {"scope": "caller-", "key": "k", "fingerprint": "open/100000/USD"}
PAYING: Final = {"scope": "user-1", "key": "k", "fingerprint": "withdraw/1/5000"}
REQUEUING: Final = {"scope": "payment-1", "key": "k", "fingerprint": "requeue/1"}
RESOLVING: Final = {"scope": "payment-1", "key": "k", "fingerprint": "resolve/1/success"}
ADJUSTING: Final = {"scope": "payment-1", "key": "k", "fingerprint": "adjust/1/suspense/out/5000"}


OF_EARLIER_VERSIONS: Final = {("payment.resolved", "gateway_key", "")}
"""Forms of earlier versions with the same meaning: a resolution without a name closes the first contradiction."""


def keyed(event: AnyEvent, **facts: Any) -> AnyEvent:
    return msgspec.structs.replace(event, idempotency=IdempotencyKey(**facts))


@pytest.mark.parametrize(
    ("event", "more", "what"),
    [
        # when, by whom, why
        (opened(), {"at": datetime(2019, 12, 31, tzinfo=UTC)}, "the event's time is 2019-12-31 00:00:00+00:00"),
        (opened(), {"at": datetime(9999, 1, 1, tzinfo=UTC)}, "the event's time is 9999-01-01 00:00:00+00:00"),
        (opened(), {"at": NOW + timedelta(microseconds=1)}, "the event's time is 2024-01-03 03:04:05.678902+00:00"),
        (opened(), {"command_id": ""}, "its command's id is not that of a request"),
        (opened(), {"command_id": "x" * 129}, "its command's id is not that of a request"),
        (opened(), {"command_id": "a\r\nb"}, "its command's id is not that of a request"),
        (opened(), {"by": "x" * 100_000}, "the name of who sent its command has 100000 characters"),
        (opened(), {"approved_by": "x" * 1_001}, "the name of who sent its command has 1001 characters"),
        (resolved(), {"by": "key:1", "approved_by": "key:1"}, "the sender of its command has approved it too"),
        (resolved(gateway_error=""), {}, "its gateway_error has 0 characters"),
        (
            resolved(gateway_answer="approved", gateway_error="timeout"),
            {},
            "the gateway said approved, and could not be asked",
        ),
        (opened(), {"cause": "RequestDeposit"}, "it cannot be caused by 'RequestDeposit'"),
        (requested(), {"cause": "RequestDeposit"}, "it cannot be caused by 'RequestDeposit'"),
        (attempted(), {"cause": "RecordInquiry"}, "it cannot be caused by 'RecordInquiry'"),
        # currencies and amounts
        (opened(currency="XYZ"), {}, "there is no currency 'XYZ'"),
        (opened(currency="usd"), {}, "there is no currency 'usd'"),
        (opened(-1), {}, "it opens an account with -1"),
        (opened(10**15 + 1), {}, "it opens an account with 1000000000000001"),
        (requested(amount_minor=0), {}, "its amount is 0 and the rate of its fee 20000 ppm"),
        (requested(amount_minor=10**15 + 1), {}, "its amount is 1000000000000001 and the rate of its fee 20000 ppm"),
        (requested(fee_rate_ppm=1_000_001), {}, "its amount is 5000 and the rate of its fee 1000001 ppm"),
        (requested(fee_rate_ppm=-1), {}, "its amount is 5000 and the rate of its fee -1 ppm"),
        (requested(fee_minor=101), {}, "its fee is 101, which is not 20000 ppm of 5000"),
        (requested(fee_minor=-1), {}, "its fee is -1, which is not 20000 ppm of 5000"),
        (requested(payment_id=2**53), {}, "the payment's id is too large"),
        # idempotency keys
        (keyed(requested(), **PAYING | {"scope": "user-2"}), {}, "its idempotency key belongs to 'user-2'"),
        (keyed(requested(), **PAYING | {"scope": "caller-"}), {}, "its idempotency key belongs to 'caller-'"),
        (keyed(opened(), **OPENING | {"scope": "user-1"}), {}, "its idempotency key belongs to 'user-1'"),
        (keyed(requested(), **PAYING | {"fingerprint": "withdraw/1/1"}), {}, "the fingerprint of its idempotency key"),
        (keyed(requested(), **PAYING | {"fingerprint_version": 2}), {}, "the fingerprint of its idempotency key"),
        (keyed(opened(), **OPENING | {"fingerprint": "open/1/USD"}), {}, "the fingerprint of its idempotency key"),
        (keyed(requeued(), **REQUEUING | {"scope": "user-1"}), {}, "its idempotency key belongs to 'user-1'"),
        (keyed(resolved(), **RESOLVING | {"scope": "payment-2"}), {}, "its idempotency key belongs to 'payment-2'"),
        (keyed(requeued(), **RESOLVING), {}, "the fingerprint of its idempotency key"),
        (
            keyed(resolved(), **RESOLVING | {"fingerprint": "resolve/1/failed"}),
            {},
            "the fingerprint of its idempotency",
        ),
        (keyed(requeued(), **REQUEUING | {"key": "a\r\nb"}), {}, "its idempotency key is not 1 to 255 printable ASCII"),
        (keyed(adjusted(), **ADJUSTING | {"scope": "payment-2"}), {}, "its idempotency key belongs to 'payment-2'"),
        *(
            (keyed(adjusted(), **ADJUSTING | {"fingerprint": other}), {}, "the fingerprint of its idempotency key")
            for other in ("adjust/1/account/out/5000", "adjust/1/suspense/in/5000", "adjust/1/suspense/out/5001")
        ),
        *(
            (keyed(requested(), **PAYING | {"key": key}), {}, "its idempotency key is not 1 to 255 printable ASCII")
            for key in ("", "k" * 256, "k" * 100_000, "a\r\nb", " k", "ключ")
        ),
        # the gateway's answers
        (approved(http_status=99), {}, "the gateway's status is 99"),
        (approved(reference="x" * 256), {}, "the gateway's reference has 256 characters"),
        (approved(answer_digest="A" * 64), {}, "the digest of the gateway's answer is not a SHA-256"),
        (approved(elapsed_ms=-1), {}, "the gateway's answer took -1 ms"),
        (declined(error="x" * 1_001), {}, "its error has 1001 characters"),
        (inquired(error=""), {}, "its error has 0 characters"),
        (failed(reason=""), {}, "its reason has 0 characters"),
        (requeued(why="x" * 1_001), {}, "its why has 1001 characters"),
        # bookings and recoveries
        (adjusted(amount_minor=0), {}, "it books 0"),
        (adjusted(amount_minor=10**15 + 1), {}, "it books 1000000000000001"),
        (adjusted(why=""), {}, "its why has 0 characters"),
        (adjusted(), {"cause": "ResolvePayment"}, "it cannot be caused by 'ResolvePayment'"),
        (recovered(next_account_id=0), {}, "it goes on with account 0 and with payment 9"),
        (recovered(next_account_id=2**53), {}, "it goes on with account 9007199254740992 and with payment 9"),
        (recovered(next_payment_sequence=-1), {}, "it goes on with account 1025 and with payment -1"),
        (recovered(next_payment_sequence=SEQUENCE_MAX + 1), {}, "it goes on with account 1025 and with payment 8796"),
        (recovered(calls=-1), {}, "it counts -1 calls"),
        (recovered(next_payment_sequence=9, calls=10), {}, "it counts 10 calls"),
        (recovered(why="x" * 1_001), {}, "its why has 1001 characters"),
        (recovered(), {"cause": "OpenAccount"}, "it cannot be caused by 'OpenAccount'"),
        # the schedule
        (attempted(retry_at=START + DELAY_MAX + timedelta(seconds=1)), {}, "its next step is due at 2024-01-04"),
        (lost(inquire_at=datetime(9999, 1, 1, tzinfo=UTC)), {}, "its next step is due at 9999-01-01"),
        (attempted(retry_at=datetime(2024, 1, 3)), {}, "its next step is due at 2024-01-03 00:00:00"),  # noqa: DTZ001
        (inquired(call_at=datetime(9999, 1, 1, tzinfo=UTC)), {}, "its next step is due at 9999-01-01"),
        (inquired(late=True, inquire_at=START + DELAY_MAX * 2), {}, "its next step is due at 2024-01-06"),
        (failed(inquire_at=datetime(9999, 1, 1, tzinfo=UTC)), {}, "its next step is due at 9999-01-01"),
        (attempted(outcome="approved"), {}, "an attempt that was approved has no such next step"),
        (attempted(outcome="declined"), {}, "an attempt that was declined has no such next step"),
        (attempted(late=True), {}, "an attempt that was turned_away has no such next step"),
        (attempted(inquire_at=START), {}, "an attempt that was turned_away has no such next step"),
    ],
)
def test_an_event_that_breaks_a_rule_is_refused(event: AnyEvent, more: dict[str, Any], what: str) -> None:
    """The sentence names the fault."""
    row = log((event, more))[0]

    wrong = wrong_with_event(decode(row.originator_id, 1, row.topic, row.state), latest=NOW)

    assert wrong is not None
    assert wrong.startswith(what)


@pytest.mark.parametrize(
    "event",
    [
        opened(0),
        opened(10**15, currency="BHD"),
        requested(fee_minor=0, fee_rate_ppm=0),
        requested(fee_minor=5_000, fee_rate_ppm=1_000_000),
        keyed(requested(), **PAYING | {"key": "k" * 255}),
        keyed(opened(), **OPENING | {"scope": "caller-Ada"}),
        attempted(retry_at=START + DELAY_MAX),
        adjusted(amount_minor=10**15, why="x" * 1_000),
        keyed(adjusted(), **ADJUSTING),
        recovered(next_payment_sequence=9, calls=9),
        recovered(next_account_id=2**53 - 1, next_payment_sequence=SEQUENCE_MAX, calls=0, why="x"),
        approved(http_status=599, reference="r" * 255, answer_digest="0" * 64, elapsed_ms=2**53 - 1),
    ],
)
def test_an_event_at_its_bounds_is_accepted(event: AnyEvent) -> None:
    """A value at a bound may be written."""
    row = log(event)[0]

    assert wrong_with_event(decode(row.originator_id, 1, row.topic, row.state), latest=NOW) is None


def test_there_is_a_rule_for_every_event() -> None:
    """An event class without one could not be verified."""
    assert set(EVENT_BY_TOPIC.values()) == set(RULES)


# --- every field of every event --------------------------------------------------------------------------------------


class Mutation(NamedTuple):
    """A field of an event with another value; `slight` when only other facts can tell that it is wrong."""

    field: str
    value: Any
    slight: bool


HUGE: Final = "y" * 100_000
LATE: Final = datetime(9999, 12, 31, tzinfo=UTC)


def mutations(event: Any, prefix: str = "") -> Iterator[Mutation]:
    """Other values for each field: of its own type, near and far, and nothing where that is allowed."""
    for name, hint in get_type_hints(type(event), include_extras=False).items():
        value = getattr(event, name, None)
        if name not in event.__struct_fields__:
            continue
        if isinstance(value, msgspec.Struct):
            yield Mutation(name, None, slight=True)
            for inner in mutations(value, f"{name}."):
                yield inner._replace(value=msgspec.structs.replace(value, **{inner.field.split(".")[1]: inner.value}))
            continue
        for other, slight in others(value, hint):
            yield Mutation(prefix + name, other, slight=slight)


def others(value: Any, hint: Any) -> Iterator[tuple[Any, bool]]:
    if get_origin(hint) is Literal:
        yield from ((other, True) for other in get_args(hint) if other != value)
    elif isinstance(value, bool):
        yield not value, True
    elif isinstance(value, int):
        yield from ((value + 1, True), (value - 1, True), (-(2**60), False), (2**60, False))
    elif isinstance(value, str):
        yield from ((value + "x", True), (HUGE, False), ("", False))
    elif isinstance(value, datetime):
        yield from ((value + timedelta(seconds=1), True), (LATE, False))
    elif datetime in get_args(hint):
        yield from ((START, False), (LATE, False))
    elif str in get_args(hint):
        yield HUGE, False
    elif int in get_args(hint):
        yield 7, False


@pytest.fixture(scope="module")
def busy(postgres_url: str) -> Iterator[KeptStore]:
    """Yield a store with events of every kind."""
    with kept_store(postgres_url) as store:
        yield store


@pytest.fixture(scope="module")
def rows(busy: KeptStore) -> list[SealedRow]:
    """Return the rows of its log."""
    columns = "notification_id, originator_id, originator_version, topic, state, digest"
    return [SealedRow(*row) for row in busy.ask(f"SELECT {columns} FROM events ORDER BY 1")]


@pytest.fixture
def connection(busy: KeptStore) -> Iterator[Connection[Any]]:
    """Yield a connection to the store; a replay reads its clock."""
    with closing(busy.database.connect(application="test")) as connection:
        yield connection


def samples(rows: list[SealedRow]) -> list[SealedRow]:
    """The first, second and last event of each topic."""
    by_topic: dict[str, list[SealedRow]] = {}
    for row in rows:
        by_topic.setdefault(row.topic, []).append(row)
    return [
        row for each in by_topic.values() for row in dict.fromkeys((each[0], each[min(1, len(each) - 1)], each[-1]))
    ]


def findings(connection: Connection[Any], rows: list[SealedRow]) -> list[tuple[int, str]]:
    found = Findings()
    replay = Replay(connection, found)
    replay.page(rows)
    replay.finish()
    return [(error.position, error.what) for error in found.first]


def mutated(recorded: Recorded[Any], mutation: Mutation) -> Recorded[Any]:
    if mutation.field in Recorded.__struct_fields__:
        return msgspec.structs.replace(recorded, **{mutation.field: mutation.value})
    change = {mutation.field.split(".")[0]: mutation.value}
    return msgspec.structs.replace(recorded, data=msgspec.structs.replace(recorded.data, **change))


def outer_mutations(recorded: Recorded[Any]) -> Iterator[Mutation]:
    yield from (
        Mutation("at", recorded.at + timedelta(seconds=1), slight=True),
        Mutation("at", LATE, slight=False),
        Mutation("at", datetime(2019, 1, 1, tzinfo=UTC), slight=False),
        Mutation("command_id", recorded.command_id + "x", slight=True),
        Mutation("command_id", HUGE, slight=False),
        Mutation("cause", recorded.cause + "x", slight=False),
        Mutation("by", "Eve", slight=True),
        Mutation("by", HUGE, slight=False),
    )


def test_a_change_of_any_field_is_found_or_the_field_is_free(
    rows: list[SealedRow], connection: Connection[Any]
) -> None:
    """A free field may have another value of its kind, and no value out of its bounds."""
    missed = []
    for row in samples(rows):
        recorded = decode(row.originator_id, row.originator_version, row.topic, row.state)
        for mutation in (*outer_mutations(recorded), *mutations(recorded.data)):
            bent = row._replace(state=encode(mutated(recorded, mutation)))
            if bent.state == row.state or findings(
                connection, [*rows[: row.position - 1], bent, *rows[row.position :]]
            ):
                continue
            if (row.topic, mutation.field, mutation.value) in OF_EARLIER_VERSIONS:
                continue
            names = {mutation.field, f"{mutation.field} of {row.topic}"}
            if not mutation.slight or not names & FREE_FIELDS.keys():
                missed.append((row.position, row.topic, mutation.field, str(mutation.value)[:40]))

    assert findings(connection, rows) == []
    assert missed == []


def test_every_free_field_is_a_field_of_an_event() -> None:
    """The list names no field that there is not."""
    fields = {name for event_class in EVENT_BY_TOPIC.values() for name in event_class.__struct_fields__}
    fields |= {f"idempotency.{name}" for name in IdempotencyKey.__struct_fields__} | set(Recorded.__struct_fields__)

    assert {name.partition(" of ")[0] for name in FREE_FIELDS} <= fields


@pytest.mark.parametrize(
    "bend",
    [
        lambda state: state + b" ",
        lambda state: state.replace(b'"data":{', b'"data":{"more":1,'),
        lambda state: state.replace(b'"command_id":', b'"command_id":"x","command_id":'),
        lambda state: json.dumps(json.loads(state)).encode(),
    ],
)
def test_bytes_that_the_ledger_does_not_write_are_found(
    rows: list[SealedRow], connection: Connection[Any], bend: Any
) -> None:
    """Two readers could read two events from them."""
    bent = rows[20]._replace(state=bend(rows[20].state))

    assert findings(connection, [*rows[:20], bent, *rows[21:]])[0] == (
        21,
        "its bytes are not those that the ledger writes for this event",
    )
