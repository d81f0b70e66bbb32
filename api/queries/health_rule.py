"""The one rule table for whether the service is well, for `/health`, `/readyz`, `payment-ledger status` and `doctor`.

Each row of `RULES` has a name, a severity, a condition in words, a remedy, and a pure function that finds it in the
evidence. A new fault is one more row, and a new fact that it needs is one more field of `Evidence` or of the report.
"""

from collections.abc import Callable, Iterator
from typing import ClassVar, Final, Literal

from msgspec import UNSET, Struct, UnsetType

from api.queries.health_evidence import Evidence
from api.queries.service_status import QUERY_SECONDS_MAX, StatusReport
from ledger.store.heartbeats import FRESH, Part

Severity = Literal["warning", "error", "critical"]
"""How bad a fault is.

A warning has time until tomorrow, an error holds up payments or reads, and a critical one refuses or can lose them.
"""

SEVERITIES: Final[tuple[Severity, ...]] = ("warning", "error", "critical")
"""The severities from the least to the worst."""

OVERDUE_SECONDS_MAX: Final = 3_600.0
"""How long a payment may be due for the gateway before a person has to look."""

IN_DOUBT_SECONDS_MAX: Final = 86_400.0
"""How long a payment may be in doubt before a person has to look."""

LETTER_SECONDS_MAX: Final = 86_400.0
"""How long a failed or contradicted letter may wait for a person."""

LOG_AHEAD_SECONDS_MAX: Final = 5.0
"""How far the log's last time may be ahead of the database's clock. Setting a clock right moves it by less."""

LAG_SECONDS_MAX: Final = 60.0
"""How old the first event may be that a read model has not applied."""

VERIFIED_SECONDS_MAX: Final = 2 * 86_400.0
"""How long ago the last verification may be, in a service that was verified before. It is asked for daily."""

DISK_FREE_RATIO_MIN: Final = 0.1
DISK_FREE_BYTES_ENOUGH: Final = 20 * 2**30
"""A disk is nearly full when less than a tenth of it is free, and less than 20 GiB."""

NO_ANSWER: Final = f"the database does not answer within {QUERY_SECONDS_MAX:g} s, or has no ledger"
SLOW: Final = f"the database answers, but its status took longer than {QUERY_SECONDS_MAX:g} s"

_HOUR: Final = 3_600
_DAY: Final = 86_400
_GIB: Final = 2**30


class Rule(Struct, frozen=True, kw_only=True):
    """A row of the table. `find` yields a sentence for each time that the condition is true.

    `stops_requests` marks the rules that `/readyz` asks about: while one of them is true, requests are refused.
    """

    name: str
    severity: Severity
    condition: str
    remedy: str
    find: Callable[[Evidence], Iterator[str]]
    stops_requests: bool = False


class Finding(Struct, frozen=True, kw_only=True):
    """A rule that is true, with the sentence for an operator and what to do about it.

    `partition` is the one in which it is true, where the ledger has several.
    """

    name: str
    severity: Severity
    sentence: str
    remedy: str
    partition: int | UnsetType = UNSET

    EXAMPLE: ClassVar[object] = {
        "name": "no_worker",
        "severity": "error",
        "sentence": "no worker is alive",
        "remedy": "Start one with `payment-ledger worker`; with `serve`, look for `part_died` in the log.",
    }


def findings(evidence: Evidence, *, partition: int | UnsetType = UNSET) -> list[Finding]:
    """Name everything that needs an operator, in the order of the table, with the partition where there are several."""
    return [
        Finding(name=rule.name, severity=rule.severity, sentence=sentence, remedy=rule.remedy, partition=partition)
        for rule in RULES
        for sentence in rule.find(evidence)
    ]


def can_serve(evidence: Evidence) -> bool:
    """Tell whether requests can be served: no rule that stops them is true."""
    return not any(sentence for rule in RULES if rule.stops_requests for sentence in rule.find(evidence))


def worst(found: list[Finding]) -> Severity | None:
    """Return the worst severity among findings; None without any."""
    return max((finding.severity for finding in found), key=SEVERITIES.index, default=None)


def _of_report(find: Callable[[StatusReport], Iterator[str]]) -> Callable[[Evidence], Iterator[str]]:
    """Ask about a report of the database, where there is one."""

    def find_in_report(evidence: Evidence) -> Iterator[str]:
        if evidence.report is not None:
            yield from find(evidence.report)

    return find_in_report


def _unavailable(evidence: Evidence) -> Iterator[str]:
    if evidence.database == "unavailable":
        yield NO_ANSWER


def _slow(evidence: Evidence) -> Iterator[str]:
    if evidence.database == "slow":
        yield SLOW


def _writer(evidence: Evidence) -> Iterator[str]:
    if evidence.writer_trouble is not None:
        yield f"the writer of this process could not write at its last try: {evidence.writer_trouble}"


def _durability(report: StatusReport) -> Iterator[str]:
    if report.durability_off:
        yield f"Postgres may lose what it has committed: {', '.join(report.durability_off)} is off"


def _disk(evidence: Evidence) -> Iterator[str]:
    disk = evidence.disk
    if disk is not None and disk.free_bytes < min(disk.total_bytes * DISK_FREE_RATIO_MIN, DISK_FREE_BYTES_ENOUGH):
        free, total = disk.free_bytes / _GIB, disk.total_bytes / _GIB
        yield f"the disk of the data directory has {free:.1f} GiB free of {total:.1f}"


def _set_aside(report: StatusReport) -> Iterator[str]:
    for model in report.read_models:
        for aside in model.set_aside:
            yield f"{aside.stream} is set aside at position {aside.position}: {aside.because}"


def _not_filled(report: StatusReport) -> Iterator[str]:
    for model in report.read_models:
        for name in model.not_filled:
            yield f"{name} was never filled from the log; `payment-ledger rebuild` fills it"


def _stopped(report: StatusReport) -> Iterator[str]:
    for model in report.read_models:
        if model.stopped_at_position is not None:
            yield f"{model.name} stopped at position {model.stopped_at_position}: {model.stopped_because}"


def _behind(report: StatusReport) -> Iterator[str]:
    for model in report.read_models:
        if model.lag_seconds > LAG_SECONDS_MAX and model.stopped_at_position is None:
            yield f"{model.name} is {model.lag} events and {duration(model.lag_seconds)} behind the log"


def _inactive(report: StatusReport) -> Iterator[str]:
    if report.inactive:
        yield "this is an imported copy of the ledger that was not activated: it takes no payments"


def _log_ahead(report: StatusReport) -> Iterator[str]:
    """Name a clock that was set back: new events then get the log's last time."""
    if report.log_ahead_seconds > LOG_AHEAD_SECONDS_MAX:
        yield (
            f"the log's last time is {report.log_ahead_seconds:.0f} s ahead of the database's clock, which was set"
            " back: new events get the log's last time until the clock has reached it"
        )


def _dead(part: Part) -> Callable[[Evidence], Iterator[str]]:
    def find(report: StatusReport) -> Iterator[str]:
        if not any(each.part == part and each.seen_seconds_ago < FRESH.total_seconds() for each in report.parts):
            yield f"no {part} is alive"

    return _of_report(find)


def _gateway(state: Literal["open", "paused"], sentence: str) -> Callable[[Evidence], Iterator[str]]:
    def find(report: StatusReport) -> Iterator[str]:
        if report.gateway.state == state:
            yield sentence.format(ago=duration(report.gateway.since_seconds), why=report.gateway.why)

    return _of_report(find)


def _overdue(report: StatusReport) -> Iterator[str]:
    seconds = report.gateway_queue.oldest_due_seconds
    if seconds > OVERDUE_SECONDS_MAX:
        yield f"a payment has been due at the gateway for {duration(seconds)}, and no worker has called about it"


def _in_doubt(report: StatusReport) -> Iterator[str]:
    seconds = report.oldest_in_doubt_seconds
    if seconds > IN_DOUBT_SECONDS_MAX:
        yield (
            f"a payment has been in doubt for {duration(seconds)}; `payment-ledger dlq list --state in_doubt` shows it"
        )


def _letters(report: StatusReport) -> Iterator[str]:
    for state in ("failed", "contradicted"):
        seconds = report.oldest_letter_seconds[state]
        if seconds > LETTER_SECONDS_MAX:
            yield (
                f"a {state} payment has waited for a person for {duration(seconds)};"
                f" `payment-ledger dlq list --state {state}` shows it"
            )


def _unverified(evidence: Evidence) -> Iterator[str]:
    last = evidence.verification
    if last is not None and last.seconds_ago > VERIFIED_SECONDS_MAX:
        yield f"the log was last verified {duration(last.seconds_ago)} ago, up to position {last.position}"


def duration(seconds: float) -> str:
    """Write a duration as a person says it: in days from two days on, in minutes below an hour, else in hours."""
    if seconds >= 2 * _DAY:
        return f"{seconds // _DAY:.0f} days"
    if seconds < _HOUR:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / _HOUR:.1f} hours"


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="database_unavailable",
        severity="critical",
        condition="The database gives no answer, or holds no ledger.",
        remedy="Look at the server and the network, and at `DATABASE_URL` and `LEDGER_SCHEMA`.",
        find=_unavailable,
        stops_requests=True,
    ),
    Rule(
        name="database_slow",
        severity="warning",
        condition=f"The database answers, but reading the status takes longer than {QUERY_SECONDS_MAX:g} s.",
        remedy="Look for long transactions and locks in `pg_stat_activity`, and at the load of the server's machine.",
        find=_slow,
    ),
    Rule(
        name="writer_cannot_write",
        severity="critical",
        condition="The writer of this process could not write at its last try; only a process with a writer knows.",
        remedy="The sentence has the reason: a standby, a missing right, a full disk. No restart is needed afterwards.",
        find=_writer,
        stops_requests=True,
    ),
    Rule(
        name="durability_off",
        severity="critical",
        condition="`fsync`, `full_page_writes` or `synchronous_commit` of Postgres is off.",
        remedy="Switch the named settings on in postgresql.conf and reload the server; a crash may lose payments.",
        find=_of_report(_durability),
    ),
    Rule(
        name="disk_nearly_full",
        severity="critical",
        condition="The disk of the data directory, where it is on this machine, has less than a tenth and less than"
        " 20 GiB free.",
        remedy="Make room, or move the data directory. Often WAL is kept for a standby or an archive.",
        find=_disk,
    ),
    Rule(
        name="stream_set_aside",
        severity="error",
        condition="A read model could not apply an event of one user and goes on without that user.",
        remedy="Correct the cause that the sentence names, then run `payment-ledger rebuild`.",
        find=_of_report(_set_aside),
    ),
    Rule(
        name="read_model_not_filled",
        severity="error",
        condition="A read model joined a ledger that had events, and was not filled since.",
        remedy="Run `payment-ledger rebuild`.",
        find=_of_report(_not_filled),
    ),
    Rule(
        name="read_model_stopped",
        severity="error",
        condition="A group of read models cannot read or apply an event and has stopped there.",
        remedy="Correct the cause that the sentence names; the projector tries again by itself within a minute.",
        find=_of_report(_stopped),
    ),
    Rule(
        name="read_models_behind",
        severity="warning",
        condition=f"A group of read models has not applied an event that is older than {LAG_SECONDS_MAX:g} s.",
        remedy="Look whether a projector is alive and whether the number falls; a rebuild or a burst takes its time.",
        find=_of_report(_behind),
    ),
    Rule(
        name="inactive",
        severity="critical",
        condition="The store is an imported copy that nobody has activated.",
        remedy="Stop the old ledger for good, then run `payment-ledger audit import --take-over`.",
        find=_of_report(_inactive),
        stops_requests=True,
    ),
    Rule(
        name="log_ahead_of_clock",
        severity="warning",
        condition=f"The log's last time is more than {LOG_AHEAD_SECONDS_MAX:g} s ahead of the database's clock.",
        remedy="Set the server's clock right with a program that slews it, such as chrony.",
        find=_of_report(_log_ahead),
    ),
    Rule(
        name="no_worker",
        severity="error",
        condition=f"No worker has sent a heartbeat for {FRESH.total_seconds():g} s.",
        remedy="Start one with `payment-ledger worker`; with `serve`, look for `part_died` in the log.",
        find=_dead("worker"),
    ),
    Rule(
        name="no_projector",
        severity="error",
        condition=f"No projector has sent a heartbeat for {FRESH.total_seconds():g} s.",
        remedy="Start one with `payment-ledger projector`; with `serve`, look for `part_died` in the log.",
        find=_dead("projector"),
    ),
    Rule(
        name="gateway_paused",
        severity="warning",
        condition="An operator has paused the gateway: payments are accepted and wait.",
        remedy="`payment-ledger gateway resume --why ... --by ...`, when the reason is over.",
        find=_gateway("paused", "the gateway was paused {ago} ago: {why}"),
    ),
    Rule(
        name="gateway_away",
        severity="error",
        condition="The circuit breaker is open: calls in a row got no answer or a 5xx, and only single calls probe.",
        remedy="Look at the gateway and the way to it; the worker goes on by itself when a probe is answered.",
        find=_gateway("open", "the gateway's breaker has been open for {ago}: {why}"),
    ),
    Rule(
        name="payments_overdue",
        severity="error",
        condition="A payment has been due at the gateway for more than an hour.",
        remedy="Look at the worker's log and at the gateway; more workers or slots help when all of them are busy.",
        find=_of_report(_overdue),
    ),
    Rule(
        name="in_doubt_too_long",
        severity="error",
        condition="A payment has been in doubt for more than a day.",
        remedy="Ask the gateway's operator what became of it, then run `payment-ledger dlq resolve`.",
        find=_of_report(_in_doubt),
    ),
    Rule(
        name="letters_not_looked_at",
        severity="warning",
        condition="A failed or contradicted dead letter is older than a day.",
        remedy="Decide about it with `payment-ledger dlq requeue`, `resolve` or `adjust`.",
        find=_of_report(_letters),
    ),
    Rule(
        name="verification_behind",
        severity="warning",
        condition="The last clean `audit verify` of the whole log, as noted in the data directory, is two days old.",
        remedy="Run `payment-ledger audit verify` every day, and look at its last result.",
        find=_unverified,
    ),
)
"""All rules. The order is that of the sentences."""
