"""A request for a second key is about the payment as it was when somebody asked, and about its money once."""

import asyncio
from contextlib import closing

import httpx
import pytest

from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.auth.conftest import bearer
from tests.api.decisions.four_eyes.conftest import ADJUST, WORDS, approve, post
from tests.api.decisions.letters import contradict, deposit, events_of, make_failed
from tests.support.databases import execute

pytestmark = pytest.mark.anyio

BOOK = {"against": "account", **WORDS}
CLOSE = {"outcome": "failed", "force": True, **WORDS}


@pytest.fixture
def failed(database: Database) -> int:
    """Let a payment fail at the gateway, and return its id."""
    writer = Writer(database)
    writer.start()
    (payment_id,) = make_failed(writer, deposit())
    writer.stop()
    return payment_id


def booked(database: Database) -> int:
    return [each["topic"] for each in events_of(database)].count("payment.adjusted")


async def test_the_same_money_is_asked_for_once(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """While a request waits, a second one for the same action is refused, under whatever key, and names the first."""
    path = f"/dlq/{failed}/adjust"
    first = (await post(client, path, BOOK, ada)).json()["approval_id"]
    others = [
        await post(client, path, BOOK, ada),
        await post(client, path, ADJUST, grace),
        await post(client, path, BOOK, ada, **{"Idempotency-Key": "statement-8"}),
    ]
    resolving = await post(client, f"/dlq/{failed}/resolve", CLOSE, ada)

    approved = (await approve(client, first, grace)).json()
    keyless = await post(client, path, BOOK, ada)
    later = await post(client, path, BOOK, ada, **{"Idempotency-Key": "statement-9"})

    assert {(each.status_code, each.json()["code"]) for each in others} == {(409, "approval_waiting")}
    assert {first in each.json()["detail"] for each in others} == {True}
    assert resolving.status_code == 202
    assert (approved["state"], approved["result"], booked(database)) == ("done", "adjusted", 1)
    assert (keyless.status_code, keyless.json()["code"]) == (422, "idempotency_key_missing")
    assert later.json()["state"] == "waits_for_approval"


async def test_of_two_requests_at_once_one_waits(client: httpx.AsyncClient, failed: int, ada: str, grace: str) -> None:
    """The other one is refused."""
    both = await asyncio.gather(*[post(client, f"/dlq/{failed}/adjust", BOOK, key) for key in (ada, grace)])

    assert sorted(each.status_code for each in both) == [202, 409]


async def test_two_requests_that_both_wait_book_once(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """The second one is about the payment before the first was booked, so it is refused."""
    first = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada)).json()["approval_id"]
    execute(database, "UPDATE approval SET expires_at = requested_at", owner=True)
    second = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada)).json()["approval_id"]
    execute(database, "UPDATE approval SET expires_at = requested_at + interval '1 day'", owner=True)

    ends = [(await approve(client, each, grace)).json() for each in (first, second)]

    assert [(each["state"], each["result"]) for each in ends] == [("done", "adjusted"), ("refused", "stale_command")]
    assert booked(database) == 1


async def test_what_neither_person_has_seen_is_not_decided(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """Ada asks about a declined payment. Then the gateway tells of success, and Grace approves."""
    approval_id = (await post(client, f"/dlq/{failed}/resolve", CLOSE, ada)).json()["approval_id"]
    writer = Writer(database)
    writer.start()
    contradict(writer, failed)
    writer.stop()

    approved = (await approve(client, approval_id, grace)).json()

    assert (approved["state"], approved["result"]) == ("refused", "stale_command")
    assert approved["detail"] == "The payment has changed since it was asked for; ask again."
    assert "payment.resolved" not in [each["topic"] for each in events_of(database)]
    again = (await post(client, f"/dlq/{failed}/resolve", CLOSE, ada)).json()["approval_id"]
    assert (await approve(client, again, grace)).json()["result"] == "failed"


async def test_a_booking_that_was_cut_off_is_not_refused_for_its_own_change(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """The process died between the command and the note of its result: the payment has changed by this alone."""
    approval_id = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada)).json()["approval_id"]
    await approve(client, approval_id, grace)
    execute(database, "UPDATE approval SET result = NULL")

    again = (await approve(client, approval_id, grace)).json()

    assert (again["state"], again["result"], booked(database)) == ("done", "adjusted", 1)


async def test_a_request_shows_the_gateway_key_that_it_is_about(
    client: httpx.AsyncClient, failed: int, ada: str
) -> None:
    """Although nobody has named one; both the booking and the resolution."""
    await post(client, f"/dlq/{failed}/adjust", BOOK, ada)
    await post(client, f"/dlq/{failed}/resolve", CLOSE, ada)

    listed = (await client.get("/api/v1/approvals", headers=bearer(ada))).json()

    own = f"payment-{failed}"
    assert [(each["action"], each["gateway_key"]) for each in listed] == [("resolve", own), ("adjust", own)]


async def test_a_repetition_under_its_key_is_the_same_request_after_the_payment_has_changed(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """It is told what became of the first one."""
    key = {"Idempotency-Key": "statement-8"}
    first = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada, **key)).json()
    await approve(client, first["approval_id"], grace)

    again = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada, **key)).json()

    told = {"payment_id": failed, "state": "done", "result": "adjusted"}
    assert again == told | {name: first[name] for name in ("approval_id", "expires_at")}
    assert booked(database) == 1


@pytest.mark.parametrize("key", ["approval-4f1c8a02d7be9635", "bulk-9f86"])
async def test_the_keys_of_the_service_are_its_own(client: httpx.AsyncClient, failed: int, ada: str, key: str) -> None:
    """A decision under such a key could be taken for one that was approved."""
    answer = await post(client, f"/dlq/{failed}/adjust", BOOK, ada, **{"Idempotency-Key": key})

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_invalid")


async def test_a_request_and_its_repetition_are_both_written(
    client: httpx.AsyncClient, database: Database, failed: int, ada: str, grace: str
) -> None:
    """So the repetition waits for a standby too: the commit of the first one may have been in doubt."""
    key = {"Idempotency-Key": "statement-8"}

    def written() -> str:
        with closing(database.connect(application="test")) as connection:
            return str(connection.execute("SELECT xmin FROM approval").fetchone())

    approval_id = (await post(client, f"/dlq/{failed}/adjust", BOOK, ada, **key)).json()["approval_id"]
    seen = [written()]
    await post(client, f"/dlq/{failed}/adjust", BOOK, ada, **key)
    seen.append(written())
    await approve(client, approval_id, grace)
    seen.append(written())
    await approve(client, approval_id, grace)
    seen.append(written())

    assert len(set(seen)) == 4
