"""Compare the answers that clients got, the ledger and the gateway's book after a chaos run."""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import httpx

from processors.simulators.chaos.scenario import KINDS, Behaviour, ChaosProfile, is_silent
from tests.chaos.operators import HEAD_AHEAD, all_letters, errors_of_audit
from tests.chaos.payer import Answered
from tests.chaos.restores import Loss, given_twice
from tests.chaos.run import Run
from tests.support.consistency import Comparison, comparisons
from tests.support.services import Client

QUIET_SECONDS_MAX: Final = 300.0
INQUIRY_SECONDS_MAX: Final = 1_200.0
LATE_SECONDS_MAX: Final = 120.0
"""After so long, late inquiries have told of all money that they will tell of."""

"""How long an inquiry is waited for that is due later than that: their intervals double."""
QUIET_POLL_SECONDS: Final = 0.5
NAMED_MAX: Final = 20


class Verified(NamedTuple):
    """The comparisons, the figures of the summary, the gateway's counts of its behaviours, and the lost payments."""

    comparisons: list[Comparison]
    figures: dict[str, Any]
    behaviours: dict[str, int]
    lost: list[str]

    @property
    def found(self) -> list[str]:
        """All differences."""
        return [difference for comparison in self.comparisons for difference in comparison.found]


def verified(run: Run, openings: dict[int, Decimal], losses: Sequence[Loss]) -> Verified:
    """Wait until the service is quiet, and compare everything."""
    answered = [answer for payer in run.payers for answer in payer.answered]
    lost = [answer for answer in answered if any(loss.holds(answer) for loss in losses)]
    kept = [answer for answer in answered if not any(loss.holds(answer) for loss in losses)]
    with Client(run.fleet.apis()[0].url) as client:
        still_open = wait_until_quiet(run, client)
        run.stop_workers()
        still_open = still_open or wait_until_quiet(run, client)
        with run.connect() as connection:
            twice = given_twice(connection, losses)
        lost_keys = {key for loss in losses for key in loss.keys} - twice.keys - twice.again
        letters = list(all_letters(client))
        compared = [
            Comparison("seen during the run", run.counts.total(), list(run.found)),
            *comparisons(client, openings, [answer.payment_id for answer in kept], lost_keys=lost_keys),
            Comparison("answers given again", len(kept), list(_answers_that_differ(client, kept))),
            Comparison("payments with an end or in doubt", len(kept), [still_open] if still_open else []),
            Comparison("letters explained by the gateway's book", len(letters), _unexplained(run, client, letters)),
            Comparison("lost ids and keys: none given twice", sum(map(_size, losses)), twice.found),
        ]
        effects = client.pages("/mock-gateway/effects", cursor="after", following="next_after", limit=1000)
        forgotten = [effect for effect in effects if effect["key"] in lost_keys and not _is_lost(effect, losses)]
        compared.append(
            Comparison("effects of forgotten series: not paid again", len(forgotten), _paid_again(client, forgotten))
        )
        metrics = client.get("/metrics")
    compared += _proofs(run)
    missed = run.missed_places()
    compared.append(Comparison("fail points", len(run.places), [f"nobody died at {missed}"] if missed else []))
    behaviours: dict[str, int] = httpx.get(
        f"{run.gateway_url}/behaviours", trust_env=False, timeout=QUIET_SECONDS_MAX
    ).json()
    figures = {
        "payments acknowledged": len(answered),
        "of them lost with a restore": len(lost),
        "requests sent again": sum(payer.sent_again for payer in run.payers),
        "gateway calls recorded": metrics["payments_processing_started_total"],
        "payments succeeded": metrics["payments_success_total"],
        "effects in the gateway's book": len(effects),
        "effects of lost payments": sum(_is_lost(effect, losses) for effect in effects),
        "effects of forgotten series of kept payments": len(forgotten),
        **{f"letters {state}": count for state, count in sorted(Counter(each["state"] for each in letters).items())},
        **{f"operator, {what}": count for what, count in sorted(run.decided.items())},
    }
    return Verified(compared, figures, behaviours, list(_lost(losses, lost)))


def wait_until_quiet(run: Run, client: Client) -> str:
    """Wait until every payment has ended, or is in doubt and the gateway's book says why; and all inquiries are made.

    Returns the payments that are still under way after `QUIET_SECONDS_MAX`; empty when everything is quiet. It waits
    longer for a payment in doubt whose next inquiry is due later, because an answer may have been lost on its way.
    """
    began = time.monotonic()
    while True:
        under_way = {
            payment["payment_id"]
            for status in ("new", "processing")
            for payment in client.pages("/payments", status=status, limit=500)
        }
        with run.connect() as connection:
            entries = connection.execute("SELECT payment_id, action FROM gateway_queue").fetchall()
            # A payment that an operator closed is asked about for as long as the gateway calls it pending.
            asked_enough = time.monotonic() - began > LATE_SECONDS_MAX
            under_way |= {row[0] for row in entries if row[1] != "inquire_late" or not asked_enough}
            later = {row[0] for row in connection.execute("SELECT payment_id FROM gateway_queue WHERE due_at > now()")}
        letters = list(all_letters(client))
        in_doubt = {letter["payment_id"] for letter in letters if letter["state"] == "in_doubt"}
        still_open = under_way - in_doubt
        unexplained = _unexplained(run, client, letters)
        if not still_open and not unexplained:
            return ""
        waits_for_inquiry = any(f"payment {payment_id} " in each for payment_id in later for each in unexplained)
        if time.monotonic() - began > (INQUIRY_SECONDS_MAX if waits_for_inquiry else QUIET_SECONDS_MAX):
            return f"still under way: {sorted(still_open)[:NAMED_MAX]}" if still_open else ""
        time.sleep(QUIET_POLL_SECONDS)


# --- letters ---------------------------------------------------------------------------------------------------------


def _unexplained(run: Run, client: Client, letters: Sequence[Any]) -> list[str]:
    """List the payments in doubt about which the gateway's book leaves no doubt.

    Other letters are held against the book by the comparison of its effects.
    """
    with httpx.Client(base_url=run.gateway_url, trust_env=False, timeout=QUIET_SECONDS_MAX) as gateway:
        return [
            f"payment {letter['payment_id']} is in doubt, and the gateway's last answer for it was clear"
            for letter in letters
            if letter["state"] == "in_doubt"
            and not _in_doubt_by_the_book(run.profile, client, gateway, letter["payment_id"])
        ]


def _in_doubt_by_the_book(profile: ChaosProfile, client: Client, gateway: httpx.Client, payment_id: int) -> bool:
    """Tell whether the gateway never answers inquiries under the payment's key, or gave no clear answer last."""
    events = client.get(f"/payments/{payment_id}/events")["items"]
    key = next(event["data"]["gateway_key"] for event in reversed(events) if "gateway_key" in event["data"])
    if is_silent(profile, gateway_key=key):
        return True
    answer = gateway.get("/acts", params={"key": key})
    acts = answer.json()["items"] if answer.status_code == httpx.codes.OK else []
    return acts != [] and not KINDS[Behaviour(acts[-1]["behaviour"])].tells


# --- restores --------------------------------------------------------------------------------------------------------


def _size(loss: Loss) -> int:
    return len(loss.payments) + len(loss.keys)


def _is_lost(effect: Any, losses: Sequence[Loss]) -> bool:
    return any(effect["payment_id"] in loss.payments for loss in losses)


def _paid_again(client: Client, forgotten: Sequence[Any]) -> list[str]:
    """List the payments whose money moved under the key of a series that a restore has lost, and then under another."""
    return [
        f"payment {effect['payment_id']} moved its money under {effect['key']}, which was forgotten, and succeeded"
        for effect in forgotten
        if client.get(f"/payments/{effect['payment_id']}")["status"] == "success"
    ]


def _lost(losses: Sequence[Loss], lost: Sequence[Answered]) -> Iterator[str]:
    """List exactly the acknowledged payments that each restore has lost."""
    for number, loss in enumerate(losses, start=1):
        ids = ", ".join(str(answer.payment_id) for answer in lost if loss.holds(answer))
        stretch = f"positions {loss.position + 1} to {loss.end}"
        yield f"restore {number} lost {stretch}, and the acknowledged payments {ids or '(none)'}"


# --- proofs ----------------------------------------------------------------------------------------------------------


def _answers_that_differ(client: Client, answered: Sequence[Answered]) -> Iterator[str]:
    for answer in answered:
        again = client.post(answer.path, answer.body, key=answer.key)
        if (again.status_code, again.content) != (answer.status, answer.content):
            yield f"{answer.key} was answered {answer.content!r} and is now {again.content!r}"


def _proofs(run: Run) -> Iterator[Comparison]:
    proof = run.fleet.run("audit", "verify", "--json")
    errors = errors_of_audit(proof.stdout, expected=HEAD_AHEAD) if proof.stdout else [proof.stderr[-2000:]]
    yield Comparison("audit verify", 1, errors)
    proof = run.fleet.run("rebuild", "--check-only", "--json")
    said = [] if proof.returncode == 0 else [f"{proof.stdout[-2000:]} {proof.stderr[-2000:]}"]
    yield Comparison("rebuild --check-only", 1, said)
