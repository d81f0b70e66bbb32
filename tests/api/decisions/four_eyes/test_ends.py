"""A request for a second key ends: in time, with the key that asked, at a recovery of the store, and truthfully."""

from typing import Final

import httpx
import pytest

from api.auth.key_store import revoke_key
from ledger.recovery.recover import recover
from ledger.store.database import Database
from tests.api.decisions.four_eyes.conftest import GRACE, WORDS, approve, asked_to_force, post, state_of
from tests.api.decisions.letters import events_of, project
from tests.support.databases import execute

pytestmark = pytest.mark.anyio

LATE: Final = "expires_at = clock_timestamp() - interval '61 minutes'"


def cut_off(database: Database, key: str, more: str = "") -> None:
    """Leave the requests as a process does that dies after an approval and before the command."""
    approved = f"decision = 'approved', decided_at = clock_timestamp(), decided_by = 'key:{key[3:19]}'"
    execute(database, f"UPDATE approval SET {approved}{more}", owner=True)


def forget_result(database: Database, more: str = "") -> None:
    """Leave the requests as a process does that dies after the command and before its result is noted."""
    execute(database, f"UPDATE approval SET result = NULL{more}", owner=True)


def resolved(database: Database) -> int:
    return [each["topic"] for each in events_of(database)].count("payment.resolved")


@pytest.mark.parametrize("ended", ["revoked", "expired"])
async def test_what_an_ended_key_has_asked_for_is_not_approved(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str, ended: str
) -> None:
    """The list shows it, and another key can ask for the same, or reject the request."""
    approval_id = await asked_to_force(client, ada)
    if ended == "revoked":
        revoke_key(database, ada[3:19])
    else:
        execute(database, f"UPDATE api_key SET expires_at = now() WHERE id = '{ada[3:19]}'", owner=True)

    refused = await approve(client, approval_id, grace)

    assert (refused.status_code, refused.json()["code"]) == (409, "approval_key_ended")
    assert await state_of(client, approval_id, grace) == "key_ended"
    assert resolved(database) == 0
    await asked_to_force(client, grace)
    assert (await post(client, f"/approvals/{approval_id}/reject", GRACE, grace)).json()["state"] == "rejected"


async def test_what_was_asked_for_before_a_recovery_is_not_approved(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """It may have been rejected, or carried out, in what the restored store has forgotten."""
    waiting, approved = await asked_to_force(client, ada), await asked_to_force(client, ada, 1025)
    execute(
        database,
        "UPDATE approval SET decision = 'approved', decided_at = clock_timestamp(), decided_by = 'key:x'"
        f" WHERE id = '{approved}'",
    )
    recover(database, why="restored to an earlier moment")

    refused = [await approve(client, each, grace) for each in (waiting, approved)]

    assert {(each.status_code, each.json()["code"]) for each in refused} == {(409, "approval_before_recovery")}
    assert [await state_of(client, each, ada) for each in (waiting, approved)] == ["before_recovery"] * 2
    assert resolved(database) == 0
    again = await asked_to_force(client, ada)
    assert (await approve(client, again, grace)).json()["result"] == "succeeded"


async def test_an_approval_that_was_cut_off_expires_an_hour_later(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """Nothing is carried out then. Within the hour it is."""
    first, second = await asked_to_force(client, ada), await asked_to_force(client, ada, 1025)
    cut_off(database, grace, f", {LATE}")
    late = await approve(client, first, grace)
    seen = await state_of(client, first, ada)
    execute(database, "UPDATE approval SET expires_at = clock_timestamp() - interval '59 minutes'", owner=True)

    in_time = (await approve(client, second, grace)).json()

    assert (late.status_code, late.json()["code"], seen) == (409, "approval_expired", "expired")
    assert (in_time["state"], resolved(database)) == ("done", 1)


async def test_what_was_carried_out_is_told_however_late(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """The payment's history shows it, so a late approval and a late rejection are both told the truth."""
    first, second = await asked_to_force(client, ada), await asked_to_force(client, ada, 1025)
    for each in (first, second):
        await approve(client, each, grace)
    forget_result(database, f", {LATE}")

    approved = (await approve(client, first, grace)).json()
    rejected = await post(client, f"/approvals/{second}/reject", GRACE, grace)

    assert (approved["state"], approved["result"]) == ("done", "succeeded")
    assert (rejected.status_code, rejected.json()["code"]) == (409, "approval_decided")
    assert await state_of(client, second, ada) == "done"


async def test_an_approval_that_was_cut_off_can_be_rejected(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """Then nobody carries it out any more."""
    approval_id = await asked_to_force(client, ada)
    cut_off(database, grace)

    rejected = await post(client, f"/approvals/{approval_id}/reject", GRACE, grace)
    late = await approve(client, approval_id, grace)

    assert (rejected.status_code, rejected.json()["state"]) == (200, "rejected")
    assert (late.json()["code"], resolved(database)) == ("approval_decided", 0)


async def forced_list(client: httpx.AsyncClient, key: str) -> str:
    """List all letters for a forced decision, and return the digest."""
    body = {"action": "resolve", "outcome": "success", "force": True}
    return str((await post(client, "/dlq/bulk/plan", body, key)).json()["digest"])


async def ask_run(client: httpx.AsyncClient, digest: str, why: str, key: str) -> str:
    answer = await post(client, "/dlq/bulk/run", {"digest": digest, "why": why, "by": "Ada"}, key)
    return str(answer.json()["approval_id"])


async def test_a_second_run_of_a_list_for_another_reason_is_refused(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """That is the end of its request."""
    project(database)
    digest = await forced_list(client, ada)
    first, second = [await ask_run(client, digest, why, ada) for why in ("the first", "the second")]

    ends = [(await approve(client, each, grace)).json() for each in (first, second)]

    assert [(each["state"], each["result"]) for each in ends] == [("done", "done"), ("refused", "request_invalid")]
    assert "the first" in ends[1]["detail"]


async def test_a_run_that_was_cut_off_and_is_rejected_says_what_it_did(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """A run of which nothing was done is rejected; one that was done is done."""
    project(database)
    digest = await forced_list(client, ada)
    first, second = [await ask_run(client, digest, WORDS["why"], ada) for _ in range(2)]
    cut_off(database, grace)
    nothing = (await post(client, f"/approvals/{first}/reject", GRACE, grace)).json()
    await approve(client, second, grace)
    forget_result(database)

    done = await post(client, f"/approvals/{second}/reject", GRACE, grace)
    seen = await state_of(client, second, ada)

    assert (nothing["state"], nothing["detail"]) == ("rejected", None)
    assert (done.json()["code"], seen) == ("approval_decided", "done")
