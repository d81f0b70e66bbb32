"""Many letters at once: first a list of the effects, then the run by the digest of that list."""

import asyncio
from typing import Any

import httpx
import pytest

from api.decisions import bulk
from api.operator.verification import verify
from ledger.domain.commands import Succeed
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.decisions.letters import (
    carry_out,
    deposit,
    events_of,
    make_failed,
    make_in_doubt,
    opening,
    project,
    withdrawal,
)
from tests.support.databases import execute
from tests.support.gateways.scripted import DECLINED, NOT_FOUND, OK, PENDING, ScriptedGateway
from tests.support.ledgers.running_writer import inquiry

pytestmark = pytest.mark.anyio

WORDS = {"why": "the bank has lifted its block", "by": "Ada"}


async def plan(client: httpx.AsyncClient, action: str = "requeue", **more: Any) -> Any:
    answer = await client.post("/api/v1/dlq/bulk/plan", json={"action": action, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def run(client: httpx.AsyncClient, digest: str, **more: Any) -> httpx.Response:
    return await client.post("/api/v1/dlq/bulk/run", json={"digest": digest, **WORDS, **more})


def decided(database: Database) -> list[tuple[int, str, str]]:
    """The payment, the sender and the reason of each decision in the log, in order."""
    topics = {"payment.requeued", "payment.resolved"}
    return [
        (each["data"]["payment_id"], each["by"], each["data"]["why"])
        for each in events_of(database)
        if each["topic"] in topics
    ]


async def test_the_list_says_what_the_run_then_does(
    client: httpx.AsyncClient, database: Database, writer: Writer
) -> None:
    """Each letter with the key of its new series, the money by currency, and the refusal of an uncovered withdrawal."""
    carry_out(writer, [opening("100"), opening("1000")])
    first = make_failed(writer, withdrawal("60"), deposit("5", account_id=2))
    second = make_failed(writer, withdrawal("60"))
    project(database)

    listed = await plan(client)
    before = len(events_of(database))
    ran = await run(client, listed["digest"])

    assert (listed["letters"], listed["going"], listed["refused"]) == (3, 2, {"insufficient_funds": 1})
    assert listed["money"] == [{"currency": "USD", "letters": 2, "in": 5, "out": 60, "commission": 1.3}]
    assert [(each["payment_id"], each["becomes"], each["refused"]) for each in listed["items"]] == [
        (first[0], "processing", None),
        (first[1], "processing", None),
        (second[0], None, "insufficient_funds"),
    ]
    assert ran.status_code == 202, ran.text
    report = ran.json()
    assert (report["done"], report["refused"], report["remaining"], report["as_planned"]) == (2, 1, 0, True)
    assert report["money"] == listed["money"]
    assert [(each["payment_id"], each["becomes"], each["refused"]) for each in report["results"]] == [
        (each["payment_id"], each["becomes"], each["refused"]) for each in listed["items"]
    ]
    requeued = [each for each in events_of(database)[before:] if each["topic"] == "payment.requeued"]
    assert [(each["data"]["payment_id"], each["data"]["gateway_key"]) for each in requeued] == [
        (each["payment_id"], each["gateway_key"]) for each in listed["items"] if each["refused"] is None
    ]
    assert decided(database) == [(payment_id, "Ada", WORDS["why"]) for payment_id in first]
    project(database)
    assert verify(database).errors == []


async def test_a_list_of_letters_is_chosen_by_each_filter(
    client: httpx.AsyncClient, database: Database, writer: Writer
) -> None:
    """By state, error, time, user, kind and currency, and several at once."""
    carry_out(writer, [opening(), opening()])
    failed = make_failed(writer, deposit(), withdrawal(account_id=2))
    (doubtful,) = make_in_doubt(writer, deposit(account_id=2))
    project(database)

    async def chosen(**facts: Any) -> list[int]:
        return [each["payment_id"] for each in (await plan(client, **facts))["items"]]

    assert await chosen() == [*failed, doubtful]
    assert await chosen(state="in_doubt") == [doubtful]
    assert await chosen(error="gateway_error_400") == failed
    assert await chosen(since="2999-01-01T00:00:00Z") == []
    assert await chosen(since="2020-01-01T00:00:00+01:00") == [*failed, doubtful]
    assert await chosen(user_id=2, payment_type="withdraw") == failed[1:]
    assert await chosen(currency="EUR") == []
    assert (await plan(client, limit=1))["more"]


async def test_nothing_is_done_when_the_letters_have_changed(
    client: httpx.AsyncClient, database: Database, writer: Writer
) -> None:
    """An account has spent the money since. A new letter behind the list changes nothing."""
    carry_out(writer, [opening("100")])
    failed = make_failed(writer, withdrawal("60"), deposit())
    project(database)
    listed, other = await plan(client), await plan(client, payment_type="deposit")
    carry_out(writer, [withdrawal("45")])

    refused = await run(client, listed["digest"])

    assert (refused.status_code, refused.json()["code"]) == (409, "letters_changed")
    assert decided(database) == []
    make_failed(writer, deposit("1"))
    project(database)
    assert (await run(client, other["digest"])).json()["done"] == 1
    assert decided(database) == [(failed[1], "Ada", WORDS["why"])]


async def test_a_run_that_was_cut_off_is_given_again_and_does_the_rest_once(
    client: httpx.AsyncClient, database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is over after each letter here; the answer says how many are left, and the same request goes on."""
    monkeypatch.setattr(bulk, "LETTERS_AT_ONCE", 1)
    monkeypatch.setattr("api.resources.decisions.bulk.RUN_SECONDS_MAX", 0.0)
    carry_out(writer, [opening()])
    failed = make_failed(writer, *[deposit() for _ in range(3)])
    project(database)
    digest = (await plan(client))["digest"]

    reports = [(await run(client, digest)).json() for _ in range(4)]
    other_reason = await run(client, digest, why="another reason")

    assert [(each["done"], each["remaining"]) for each in reports] == [(1, 2), (2, 1), (3, 0), (3, 0)]
    assert [each["as_planned"] for each in reports] == [False, False, True, True]
    assert [each[0] for each in decided(database)] == failed
    assert (other_reason.status_code, other_reason.json()["errors"][0]["path"]) == (422, "why")


async def test_a_letter_that_changes_during_the_run_is_refused_and_reported(
    client: httpx.AsyncClient, database: Database, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run had begun; the letter was requeued alone before its turn came."""
    monkeypatch.setattr(bulk, "LETTERS_AT_ONCE", 1)
    monkeypatch.setattr("api.resources.decisions.bulk.RUN_SECONDS_MAX", 0.0)
    carry_out(writer, [opening()])
    make_failed(writer, deposit(), deposit())
    project(database)
    digest = (await plan(client))["digest"]
    await run(client, digest)
    await client.post("/api/v1/dlq/1025/requeue", json={"why": "alone", "by": "Bob"})

    report = (await run(client, digest)).json()

    assert (report["done"], report["refused"], report["as_planned"]) == (1, 1, False)
    assert report["results"][1] == {"payment_id": 1025, "becomes": None, "refused": "stale_command"}
    assert decided(database) == [(1, "Ada", WORDS["why"]), (1025, "Bob", "alone")]


async def test_two_runs_of_one_list_at_once_do_each_letter_once(
    client: httpx.AsyncClient, database: Database, writer: Writer
) -> None:
    """Both are answered alike."""
    carry_out(writer, [opening()])
    failed = make_failed(writer, *[deposit() for _ in range(20)])
    project(database)
    digest = (await plan(client))["digest"]

    one, two = await asyncio.gather(run(client, digest), run(client, digest))

    assert [each.json()["done"] for each in (one, two)] == [20, 20]
    assert [each[0] for each in decided(database)] == failed


async def test_a_resolution_of_many_asks_the_gateway_about_each(
    client: httpx.AsyncClient, database: Database, writer: Writer, gateway: ScriptedGateway
) -> None:
    """Against a clear answer a letter is refused in the list already; without one it goes through."""
    carry_out(writer, [opening()])
    make_in_doubt(writer, deposit(), deposit(), deposit())
    project(database)
    answers = iter([OK, DECLINED, PENDING] * 3)
    by_payment: dict[int, bytes] = {}
    gateway.scripts["GET"] = [lambda: by_payment.setdefault(len(by_payment), next(answers))]

    listed = await plan(client, "resolve", outcome="failed")
    said = sorted(str(each["gateway"]["answer"]) for each in listed["items"])

    assert said == ["approved", "declined", "no_clear_answer"]
    assert (listed["going"], listed["refused"]) == (2, {"gateway_disagrees": 1})
    gateway.scripts["GET"] = [PENDING]
    report = (await run(client, listed["digest"])).json()
    assert (report["done"], report["refused"], report["as_planned"]) == (2, 1, True)
    resolved = [each["data"] for each in events_of(database) if each["topic"] == "payment.resolved"]
    assert [each["gateway_answer"] for each in resolved] == ["no_clear_answer"] * 2


async def test_a_gateway_that_changes_its_mind_before_the_run_is_heard(
    client: httpx.AsyncClient, database: Database, writer: Writer, gateway: ScriptedGateway
) -> None:
    """The list may be an hour old, so each letter is asked about again; a new clear answer refuses it."""
    carry_out(writer, [opening()])
    make_in_doubt(writer, deposit())
    project(database)
    gateway.scripts["GET"] = [NOT_FOUND, OK]

    listed = await plan(client, "resolve", outcome="failed")
    report = (await run(client, listed["digest"])).json()

    assert (listed["going"], report["done"], report["as_planned"]) == (1, 0, False)
    assert report["results"][0]["refused"] == "gateway_disagrees"


async def test_force_goes_only_against_the_answers_that_the_list_shows(
    client: httpx.AsyncClient, database: Database, writer: Writer, gateway: ScriptedGateway
) -> None:
    """Forced letters are marked in the list and in their events."""
    carry_out(writer, [opening()])
    make_in_doubt(writer, deposit())
    project(database)
    gateway.scripts["GET"] = [NOT_FOUND]

    listed = await plan(client, "resolve", outcome="success", force=True)
    report = (await run(client, listed["digest"])).json()

    assert (listed["items"][0]["forced"], report["done"]) == (True, 1)
    (resolved,) = [each["data"] for each in events_of(database) if each["topic"] == "payment.resolved"]
    assert (resolved["gateway_answer"], resolved["forced"]) == ("not_found", True)
    project(database)
    assert verify(database).errors == []


async def test_a_gateway_that_is_away_is_not_asked_about_all(
    client: httpx.AsyncClient, database: Database, writer: Writer, gateway: ScriptedGateway
) -> None:
    """After the failures in a row that open the breaker, the rest is listed as not asked."""
    carry_out(writer, [opening()])
    make_in_doubt(writer, *[deposit("1") for _ in range(80)])
    project(database)
    gateway.scripts["GET"] = [b""]
    gateway.__exit__()

    listed = await plan(client, "resolve", outcome="failed")

    errors = {each["gateway"]["error"] for each in listed["items"]}
    not_asked = [each for each in listed["items"] if each["gateway"]["error"] == "gateway_away"]
    assert "gateway_away" in errors
    assert len(not_asked) >= 80 - 2 * 32
    assert listed["going"] == 80


async def test_a_letter_that_is_settled_meanwhile_is_listed_as_refused(
    client: httpx.AsyncClient, database: Database, writer: Writer
) -> None:
    """The read models are behind, and the events are right."""
    carry_out(writer, [opening()])
    make_in_doubt(writer, deposit())
    project(database)
    carry_out(writer, [inquiry(seen_version=4, inquiry=2, answer="approved", then=Succeed())])

    listed = await plan(client, "resolve", outcome="failed")

    assert listed["refused"] == {"not_resolvable": 1}


@pytest.mark.parametrize(
    "body",
    [
        {"action": "resolve"},
        {"action": "requeue", "outcome": "failed"},
        {"action": "requeue", "force": True},
        {"action": "adjust"},
        {"action": "requeue", "since": "yesterday"},
        {"action": "requeue", "limit": 0},
        {"action": "requeue", "gateway": "a"},
        {"action": "requeue", "currency": "usd"},
    ],
)
async def test_a_list_that_makes_no_sense_is_refused(client: httpx.AsyncClient, body: dict[str, Any]) -> None:
    """422, and nothing is stored."""
    assert (await client.post("/api/v1/dlq/bulk/plan", json=body)).status_code == 422


async def test_a_digest_that_nobody_has_made_is_unknown(client: httpx.AsyncClient, database: Database) -> None:
    """Also one whose list was too old and removed."""
    digest = (await plan(client))["digest"]
    execute(database, "UPDATE bulk_decision SET made_at = made_at - interval '8 days'")
    await plan(client, state="failed")

    gone, never = await run(client, digest), await run(client, "0" * 64)

    assert [each.json()["code"] for each in (gone, never)] == ["plan_not_found", "plan_not_found"]
