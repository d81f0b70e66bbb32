"""Where four eyes are asked for, a booking and a decision against the gateway wait for a second key."""

import asyncio
import json
from pathlib import Path

import httpx
import pytest

from api.auth.exposure import ensure_guarded
from api.operator.verification import verify
from api.settings import Settings, SettingsError
from ledger.store.database import Database
from tests.api.auth.conftest import Keys, bearer
from tests.api.cli.shell import Shell
from tests.api.decisions.four_eyes.conftest import ADJUST, GRACE, WORDS, asked_to_force, post
from tests.api.decisions.letters import events_of, project
from tests.support.databases import execute
from tests.support.gateways.scripted import PENDING, ScriptedGateway

pytestmark = pytest.mark.anyio


async def test_a_forced_decision_waits_until_another_key_approves_it(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """Then it is carried out once, with both keys in its events; approving it again does nothing more."""
    before = events_of(database)
    approval_id = await asked_to_force(client, ada)
    waiting = (await client.get(f"/api/v1/approvals/{approval_id}", headers=bearer(ada))).json()
    own = await post(client, f"/approvals/{approval_id}/approve", GRACE, ada)
    assert events_of(database) == before

    approved = await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)
    again = await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)

    assert (waiting["state"], waiting["requested_by"], waiting["operator"]) == ("waiting", f"key:{ada[3:19]}", "Ada")
    assert (own.status_code, own.json()["code"]) == (403, "approval_of_own")
    assert (approved.status_code, approved.json()["state"], approved.json()["result"]) == (200, "done", "succeeded")
    assert again.json() == approved.json()
    events = events_of(database)[len(before) :]
    assert [each["topic"] for each in events] == ["payment.resolved", "payment.succeeded", "account.credited"]
    both = {(each["by"], each["operator"], each["approved_by"]) for each in events}
    assert both == {(f"key:{ada[3:19]}", "Ada", f"key:{grace[3:19]}")}
    assert events[0]["data"]["forced"]
    project(database)
    assert verify(database).errors == []


async def test_a_booking_waits_too_and_a_decision_with_the_gateway_does_not(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """A resolution that agrees with the gateway goes through with one key."""
    agreeing = await post(client, "/dlq/1/resolve", {"outcome": "failed", **WORDS}, ada)
    against = await post(client, "/dlq/1025/resolve", {"outcome": "success", **WORDS}, ada)
    booking = await post(client, "/dlq/1/adjust", ADJUST, ada, **{"Idempotency-Key": "statement-8"})
    same = await post(client, "/dlq/1/adjust", ADJUST, ada, **{"Idempotency-Key": "statement-8"})
    other = await post(client, "/dlq/1/adjust", ADJUST | {"amount": 3}, ada, **{"Idempotency-Key": "statement-8"})

    assert (agreeing.status_code, agreeing.json()["state"]) == (202, "failed")
    assert against.json()["code"] == "gateway_disagrees"
    assert booking.json()["state"] == "waits_for_approval"
    assert same.json() == booking.json()
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    approved = await post(client, f"/approvals/{booking.json()['approval_id']}/approve", GRACE, grace)
    assert approved.json()["result"] == "adjusted"
    booked = events_of(database)[-1]
    assert (booked["topic"], booked["approved_by"]) == ("payment.adjusted", f"key:{grace[3:19]}")


async def test_what_is_impossible_is_refused_before_it_is_stored(client: httpx.AsyncClient, ada: str) -> None:
    """A payment in doubt cannot be adjusted, and an unknown one not at all."""
    codes = [(await post(client, f"/dlq/{each}/adjust", ADJUST, ada)).json()["code"] for each in (1, 7)]

    assert codes == ["not_adjustable", "payment_not_found"]
    assert (await client.get("/api/v1/approvals", headers=bearer(ada))).json() == []


async def test_an_approval_of_what_has_changed_meanwhile_shows_the_refusal(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """The writer decides it as any command."""
    approval_id = await asked_to_force(client, ada)
    await post(client, "/dlq/1/resolve", {"outcome": "failed", **WORDS}, grace)

    approved = (await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)).json()

    assert (approved["state"], approved["result"]) == ("refused", "not_resolvable")
    assert "approved_by" not in {name for each in events_of(database) for name in each}


async def test_a_rejected_request_is_never_carried_out(client: httpx.AsyncClient, ada: str, grace: str) -> None:
    """The other key rejects it, or the one that asked takes it back; the first decision counts."""
    first, second = await asked_to_force(client, ada), await asked_to_force(client, ada, 1025)

    rejected = await post(client, f"/approvals/{first}/reject", GRACE, grace)
    taken_back = await post(client, f"/approvals/{second}/reject", {"by": "Ada"}, ada)
    late = await post(client, f"/approvals/{first}/approve", GRACE, grace)

    assert [each.json()["state"] for each in (rejected, taken_back)] == ["rejected", "rejected"]
    assert (late.status_code, late.json()["code"]) == (409, "approval_decided")


async def test_a_request_expires(client: httpx.AsyncClient, database: Database, ada: str, grace: str) -> None:
    """After a day nobody can approve it."""
    approval_id = await asked_to_force(client, ada)
    execute(database, "UPDATE approval SET expires_at = requested_at", owner=True)

    late = await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)
    seen = (await client.get(f"/api/v1/approvals/{approval_id}", headers=bearer(ada))).json()

    assert (late.status_code, late.json()["code"]) == (409, "approval_expired")
    assert seen["state"] == "expired"


async def test_two_approvals_at_once_carry_it_out_once(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """Both are told the same end."""
    approval_id, third = await asked_to_force(client, ada), Keys(database).text("operate")

    both = await asyncio.gather(
        *[post(client, f"/approvals/{approval_id}/approve", GRACE, key) for key in (grace, third)]
    )

    assert {each.json()["result"] for each in both} <= {"succeeded", None}
    assert [each["topic"] for each in events_of(database)].count("payment.resolved") == 1


async def test_an_approval_that_was_cut_off_is_given_again(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """The process died after the approval was stored, or after the command and before its result was noted."""
    approval_id = await asked_to_force(client, ada)
    await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)
    execute(database, "UPDATE approval SET result = NULL")
    cut_off = (await client.get(f"/api/v1/approvals/{approval_id}", headers=bearer(ada))).json()

    again = (await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)).json()

    assert (cut_off["state"], again["state"], again["result"]) == ("approved", "done", "succeeded")
    assert [each["topic"] for each in events_of(database)].count("payment.resolved") == 1


async def test_a_forced_run_of_many_letters_waits_too(
    client: httpx.AsyncClient, database: Database, ada: str, grace: str
) -> None:
    """One approval for the whole list, by its digest."""
    project(database)
    listed = (
        await post(client, "/dlq/bulk/plan", {"action": "resolve", "outcome": "success", "force": True}, ada)
    ).json()

    waits = (await post(client, "/dlq/bulk/run", {"digest": listed["digest"], **WORDS}, ada)).json()
    approved = (await post(client, f"/approvals/{waits['approval_id']}/approve", GRACE, grace)).json()

    assert waits["done"] == 0
    assert (approved["state"], approved["detail"], approved["digest"]) == (
        "done",
        "2 letters done, 0 refused",
        listed["digest"],
    )
    resolved = [each for each in events_of(database) if each["topic"] == "payment.resolved"]
    assert [(each["approved_by"], each["data"]["forced"]) for each in resolved] == [(f"key:{grace[3:19]}", True)] * 2


async def test_an_auditor_sees_all_requests(client: httpx.AsyncClient, database: Database, ada: str) -> None:
    """With the scope `audit` alone."""
    approval_id = await asked_to_force(client, ada)

    auditor = Keys(database).make("audit")
    seen = (await client.get("/api/v1/audit/approvals", headers=auditor)).json()
    operators = await client.get("/api/v1/approvals", headers=auditor)

    assert [(each["id"], each["action"], each["outcome"]) for each in seen] == [(approval_id, "resolve", "success")]
    assert operators.status_code == 403


@pytest.mark.usefixtures("settings")
async def test_the_command_line_asks_and_approves_with_key_files(
    database: Database, gateway: ScriptedGateway, ada: str, grace: str, tmp_path: Path
) -> None:
    """Without a key it is refused, because a name proves nobody."""
    environment = {"DATABASE_URL": database.url, "LEDGER_SCHEMA": database.schema, "OPERATE_FOUR_EYES": "true"}
    shell = Shell(tmp_path, PAYMENT_GATEWAY_URL=gateway.url, **environment)
    for name, key in (("ada", ada), ("grace", grace), ("nobody", "pl_" + "0" * 65)):
        (tmp_path / name).write_text(f"{key}\n")
    force = ("dlq", "resolve", "1", "--outcome", "success", "--force", "--why", "w", "--by", "Ada")
    keyed = (*force, "--idempotency-key", "k", "--key-file", "ada")

    def shown(*words: str) -> tuple[int, str]:
        ended = shell.run(*words)
        return ended.returncode, ended.stdout + ended.stderr

    nameless = await asyncio.to_thread(shown, *force)
    forged = await asyncio.to_thread(shown, *force, "--key-file", "nobody")
    asked = await asyncio.to_thread(shown, *keyed, "--json")
    approval_id = json.loads(asked[1])["id"]
    own = await asyncio.to_thread(shown, "dlq", "approve", approval_id, "--by", "Ada", "--key-file", "ada")
    listed = await asyncio.to_thread(shown, "dlq", "approvals", "--json")
    done = await asyncio.to_thread(shown, "dlq", "approve", approval_id, "--by", "Grace", "--key-file", "grace")
    repeated = await asyncio.to_thread(shown, *keyed)
    late = await asyncio.to_thread(shown, "dlq", "reject", approval_id, "--by", "Grace", "--key-file", "grace")

    assert (nameless[0], forged[0], own[0], late[0]) == (1, 1, 1, 1)
    assert "came without" in nameless[1]
    assert [each["state"] for each in json.loads(listed[1])] == ["waiting"]
    assert done == repeated == (0, f"Request {approval_id} is done: succeeded.\n")
    (resolved,) = [each for each in events_of(database) if each["topic"] == "payment.resolved"]
    assert (resolved["by"], resolved["approved_by"]) == (f"key:{ada[3:19]}", f"key:{grace[3:19]}")


@pytest.mark.parametrize("auth", ["off", "loopback"])
async def test_four_eyes_do_not_start_where_nobody_needs_a_key(database: Database, auth: str) -> None:
    """There is nobody to tell apart. The message names the setting and what to do."""
    settings = Settings.load({"OPERATE_FOUR_EYES": "true", "AUTH": auth})

    with pytest.raises(SettingsError, match="OPERATE_FOUR_EYES=true needs two callers"):
        ensure_guarded(settings, database)

    ensure_guarded(Settings.load({"OPERATE_FOUR_EYES": "true", "AUTH": "required"}), database)


async def test_without_an_answer_of_the_gateway_force_waits_all_the_same(
    client: httpx.AsyncClient, gateway: ScriptedGateway, ada: str, grace: str
) -> None:
    """The gateway is asked when the request is carried out, and may be clear by then."""
    gateway.scripts["GET"] = [PENDING]
    approval_id = await asked_to_force(client, ada)

    approved = (await post(client, f"/approvals/{approval_id}/approve", GRACE, grace)).json()

    assert (approved["state"], approved["result"]) == ("done", "succeeded")
