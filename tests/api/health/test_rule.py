"""The rule table of the service's health: each row is true at its own limit, and only it."""

from typing import Any, Final

import pytest
from msgspec import structs

from api.queries.disk_room import DiskRoom
from api.queries.health_evidence import Evidence
from api.queries.health_rule import (
    DISK_FREE_BYTES_ENOUGH,
    IN_DOUBT_SECONDS_MAX,
    LAG_SECONDS_MAX,
    LETTER_SECONDS_MAX,
    LOG_AHEAD_SECONDS_MAX,
    NO_ANSWER,
    OVERDUE_SECONDS_MAX,
    RULES,
    SLOW,
    VERIFIED_SECONDS_MAX,
    Finding,
    Rule,
    can_serve,
    findings,
    worst,
)
from api.queries.last_verification import LastVerification
from api.queries.service_status import (
    GatewayStatus,
    PartStatus,
    QueueStatus,
    ReadModelStatus,
    StatusReport,
    StreamStatus,
)

WORKER: Final = PartStatus(part="worker", instance="a-1-0", seen_seconds_ago=1.0)
PROJECTOR: Final = PartStatus(part="projector", instance="a-2-0", seen_seconds_ago=9.9)
FOLLOWING: Final = ReadModelStatus(
    name="read_models",
    position=118,
    lag=2,
    lag_seconds=LAG_SECONDS_MAX,
    stopped_at_position=None,
    stopped_because=None,
    set_aside=[],
    not_filled=[],
)
LETTERS: Final = {"failed": LETTER_SECONDS_MAX, "in_doubt": IN_DOUBT_SECONDS_MAX, "contradicted": LETTER_SECONDS_MAX}
WELL: Final = Evidence(
    database="ok",
    report=StatusReport(
        position=120,
        log_ahead_seconds=LOG_AHEAD_SECONDS_MAX,
        inactive=False,
        read_models=[FOLLOWING],
        gateway=GatewayStatus(state="held"),
        gateway_queue=QueueStatus(waiting=3, oldest_due_seconds=OVERDUE_SECONDS_MAX),
        dead_letters={"failed": 7, "in_doubt": 1, "contradicted": 1},
        oldest_in_doubt_seconds=IN_DOUBT_SECONDS_MAX,
        oldest_letter_seconds=LETTERS,  # type: ignore[arg-type]
        durability_off=[],
        parts=[WORKER, PROJECTOR],
    ),
    disk=DiskRoom(total_bytes=10 * DISK_FREE_BYTES_ENOUGH, free_bytes=DISK_FREE_BYTES_ENOUGH),
    verification=LastVerification(position=100, seconds_ago=VERIFIED_SECONDS_MAX),
)
STOPPED: Final = structs.replace(FOLLOWING, name="counters", stopped_at_position=7, stopped_because="unknown topic")
ASIDE: Final = structs.replace(
    FOLLOWING, set_aside=[StreamStatus(stream="account-1", position=9, because="a CHECK refuses it")]
)


def reported(**changes: Any) -> Evidence:
    """Change the report of a well service."""
    assert WELL.report is not None
    return structs.replace(WELL, report=structs.replace(WELL.report, **changes))


TRUE: Final[dict[str, tuple[Evidence, list[str]]]] = {
    "database_unavailable": (Evidence(database="unavailable"), [NO_ANSWER]),
    "database_slow": (Evidence(database="slow"), [SLOW]),
    "writer_cannot_write": (
        structs.replace(WELL, writer_trouble="the disk is full"),
        ["the writer of this process could not write at its last try: the disk is full"],
    ),
    "durability_off": (
        reported(durability_off=["fsync", "full_page_writes"]),
        ["Postgres may lose what it has committed: fsync, full_page_writes is off"],
    ),
    "disk_nearly_full": (
        structs.replace(WELL, disk=DiskRoom(total_bytes=100 * 2**30, free_bytes=9 * 2**30)),
        ["the disk of the data directory has 9.0 GiB free of 100.0"],
    ),
    "stream_set_aside": (
        reported(read_models=[ASIDE]),
        ["account-1 is set aside at position 9: a CHECK refuses it"],
    ),
    "read_model_not_filled": (
        reported(read_models=[structs.replace(FOLLOWING, not_filled=["journal"])]),
        ["journal was never filled from the log; `payment-ledger rebuild` fills it"],
    ),
    "read_model_stopped": (
        reported(read_models=[STOPPED]),
        ["counters stopped at position 7: unknown topic"],
    ),
    "read_models_behind": (
        reported(read_models=[structs.replace(FOLLOWING, lag=900, lag_seconds=150.0)]),
        ["read_models is 900 events and 2 minutes behind the log"],
    ),
    "inactive": (
        reported(inactive=True),
        ["this is an imported copy of the ledger that was not activated: it takes no payments"],
    ),
    "log_ahead_of_clock": (
        reported(log_ahead_seconds=90.0),
        [
            (
                "the log's last time is 90 s ahead of the database's clock, which was set back: new events get the"
                " log's last time until the clock has reached it"
            )
        ],
    ),
    "no_worker": (reported(parts=[PROJECTOR]), ["no worker is alive"]),
    "no_projector": (
        reported(parts=[WORKER, structs.replace(PROJECTOR, seen_seconds_ago=10.0)]),
        ["no projector is alive"],
    ),
    "gateway_paused": (
        reported(gateway=GatewayStatus(state="paused", since_seconds=7_200.0, why="their maintenance")),
        ["the gateway was paused 2.0 hours ago: their maintenance"],
    ),
    "gateway_away": (
        reported(gateway=GatewayStatus(state="open", since_seconds=120.0, why="20 calls in a row failed")),
        ["the gateway's breaker has been open for 2 minutes: 20 calls in a row failed"],
    ),
    "payments_overdue": (
        reported(gateway_queue=QueueStatus(waiting=1, oldest_due_seconds=2.5 * 86_400)),
        ["a payment has been due at the gateway for 2 days, and no worker has called about it"],
    ),
    "in_doubt_too_long": (
        reported(oldest_in_doubt_seconds=IN_DOUBT_SECONDS_MAX + 1),
        ["a payment has been in doubt for 24.0 hours; `payment-ledger dlq list --state in_doubt` shows it"],
    ),
    "letters_not_looked_at": (
        reported(oldest_letter_seconds={"failed": 3 * 86_400.0, "in_doubt": 0.0, "contradicted": 90_000.0}),
        [
            "a failed payment has waited for a person for 3 days; `payment-ledger dlq list --state failed` shows it",
            (
                "a contradicted payment has waited for a person for 25.0 hours;"
                " `payment-ledger dlq list --state contradicted` shows it"
            ),
        ],
    ),
    "verification_behind": (
        structs.replace(WELL, verification=LastVerification(position=100, seconds_ago=VERIFIED_SECONDS_MAX + 1)),
        ["the log was last verified 2 days ago, up to position 100"],
    ),
}
"""For each row of the table: evidence in which it is true and no other row is, and its sentences."""


def test_a_service_within_all_limits_has_no_findings() -> None:
    """Every row is false, at its very limit where it has one."""
    assert {rule.name: list(rule.find(WELL)) for rule in RULES} == {rule.name: [] for rule in RULES}
    assert can_serve(WELL)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_row_can_be_true_alone(rule: Rule) -> None:
    """It brings its own sentences with its severity and remedy, and an operator reads nothing else."""
    evidence, sentences = TRUE[rule.name]

    assert findings(evidence) == [
        Finding(name=rule.name, severity=rule.severity, sentence=sentence, remedy=rule.remedy) for sentence in sentences
    ]
    assert worst(findings(evidence)) == rule.severity
    assert can_serve(evidence) is not rule.stops_requests


def test_the_walk_knows_every_row() -> None:
    """Names are unique, and every condition and remedy is a sentence."""
    assert [*TRUE] == [rule.name for rule in RULES]
    assert [rule.name for rule in RULES if not (rule.condition.endswith(".") and rule.remedy.endswith("."))] == []


def test_facts_that_nobody_knows_are_no_findings() -> None:
    """A server on another machine has a disk too, and an operator may verify elsewhere."""
    assert findings(structs.replace(WELL, disk=None, verification=None)) == []


def test_the_worst_of_several_findings_counts() -> None:
    """Their order does not matter."""
    found = findings(structs.replace(reported(log_ahead_seconds=90.0, parts=[]), writer_trouble="gone"))

    assert [finding.severity for finding in found] == ["critical", "warning", "error", "error"]
    assert worst(found) == "critical"
    assert worst(found[1:]) == "error"
    assert worst([]) is None
