"""A restore of a back-up in the middle: the world outside then knows more than the store.

A base back-up is taken while payments run. The workers stand still before it, so that some payments wait for their
first call: the back-up knows them as not begun, and then the gateway moves their money. Some seconds later the ledger's
database is destroyed and the back-up put in its place, while the gateway keeps its book.

The lost stretch of the log is read from the old store before its end. So the comparison can list exactly the
acknowledged payments that were lost, and can prove that no payment id of the lost stretch, and no gateway key of a lost
payment, was given a second time. A payment that was kept gets the key of a lost series again, and must.
"""

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import psycopg
from msgspec import Struct

from ledger.domain.identifiers import without_salt
from tests.chaos.payer import Answered
from tests.chaos.run import Run
from tests.support.servers.clusters import cluster_of, take_base_backup

ANSWERS_MIN: Final = (20, 120)
"""How many payments are acknowledged after the back-up before everything is lost, at least."""

WAIT_SECONDS: Final = (1.0, 3.0)
"""How long payments gather in the queue before the back-up is taken."""

LOOK_SECONDS: Final = 1.0
LOOKS_MAX: Final = 30
TRIES_MAX: Final = 20
END_SECONDS_MAX: Final = 10.0

_HEAD: Final = "SELECT position, digest FROM log_head"
_PAYMENTS: Final = """
SELECT (convert_from(state, 'UTF8')::jsonb -> 'data' ->> 'payment_id')::bigint
  FROM events
 WHERE topic = 'payment.requested' AND notification_id > %s
"""
_KEYS: Final = """
SELECT gateway_key FROM gateway_queue
 UNION
SELECT convert_from(state, 'UTF8')::jsonb -> 'data' ->> 'gateway_key'
  FROM events
 WHERE topic LIKE 'payment.%%' AND notification_id > %s
"""


class Backup(Struct, frozen=True, kw_only=True):
    """A back-up, and the position of the log before it was begun: all up to there must be in it.

    It is restored when clients have got so many answers.
    """

    cluster: Path
    began_at: int
    answers: int


class Loss(Struct, frozen=True, kw_only=True):
    """The lost stretch of a restore, from after `position` to `end`: the payments and gateway keys first given there.

    `world` counts the restores before this one, as answers to clients do.
    """

    world: int
    position: int
    end: int
    payments: frozenset[int]
    keys: frozenset[str]

    def holds(self, answer: Answered) -> bool:
        """Tell whether a client was answered with a payment that was lost here."""
        return answer.world == self.world and answer.payment_id in self.payments


class Restores:
    """The fault, in two steps: the back-up, and the restore when payments have gone on for a while."""

    def __init__(self) -> None:
        self.losses: list[Loss] = []
        self._backup: Backup | None = None
        self._looks_left = LOOKS_MAX

    def __call__(self, run: Run) -> float | None:
        """Take a back-up or restore it; return the seconds until the next look whether it is time for that."""
        answers = sum(len(payer.answered) for payer in run.payers)
        self._looks_left -= 1
        wanted = ANSWERS_MIN[0] if self._backup is None else self._backup.answers
        if answers < wanted and self._looks_left > 0:
            return LOOK_SECONDS
        self._looks_left = LOOKS_MAX
        if self._backup is None:
            self._backup = _take(run, answers)
            return LOOK_SECONDS
        backup, self._backup = self._backup, None
        self._restore(run, backup)
        return None

    def _restore(self, run: Run, backup: Backup) -> None:
        with run.lock:
            run.continue_frozen()
            for member in run.parts:
                member.kill()
            run.ensure_postgres()
            with _patiently(run) as old:
                end, digest_of = _head(old)[0], _digests(old, after=backup.began_at)
                payments, keys = _payments(old, backup.began_at), _keys(old, backup.began_at)
            _exchange(run, backup)
            run.world += 1
            with _patiently(run) as new:
                position, digest = _head(new)
                kept_payments, kept_keys = _payments(new, backup.began_at), _keys(new, 0)
            if position < backup.began_at:
                run.found.append(f"the back-up was begun at {backup.began_at} and ends at {position}")
            elif digest != digest_of[position]:
                run.found.append(f"the restored store has another event at {position} than the one that was lost")
            loss = Loss(
                world=run.world - 1,
                position=position,
                end=end,
                payments=payments - kept_payments,
                keys=keys - kept_keys,
            )
            self.losses.append(loss)
            recovered = run.fleet.run("recover")
            if recovered.returncode != 0:
                run.found.append(f"recover says {recovered.stdout[-1000:]} {recovered.stderr[-1000:]}")
        run.faults["back-up restored"] += 1


def _take(run: Run, answers: int) -> Backup:
    directory = run.directory / f"backup-{run.world}"
    for member in run.parts:
        if member.part == "worker":
            run.freeze(member, seconds=0)  # the loop of the faults continues it after the back-up
    time.sleep(run.dice.uniform(*WAIT_SECONDS))
    for _ in range(TRIES_MAX):
        with suppress(psycopg.Error, subprocess.CalledProcessError):
            shutil.rmtree(directory, ignore_errors=True)
            with run.connect() as connection:
                began_at = _head(connection)[0]
            cluster = take_base_backup(run.url, run.data_dir, directory)
            answers += run.dice.randint(*ANSWERS_MIN)
            return Backup(cluster=cluster, began_at=began_at, answers=answers)
        time.sleep(1)
    raise AssertionError("no back-up could be taken")


def _exchange(run: Run, backup: Backup) -> None:
    """Destroy the ledger's database, and put the back-up in its place."""
    victims = run.server_processes(run.data_dir)
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.suspend()  # so that none can write anything when another one is dead
    for victim in victims:
        with suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims, timeout=END_SECONDS_MAX)
    cluster = cluster_of(run.data_dir)
    shutil.rmtree(cluster)
    backup.cluster.rename(cluster)
    run.postgres.ensure_running()


def _patiently(run: Run) -> "psycopg.Connection[Any]":
    for _ in range(TRIES_MAX):
        with suppress(psycopg.Error):
            return run.connect()
        time.sleep(1)
    raise AssertionError("Postgres does not come back")


def _head(connection: "psycopg.Connection[Any]") -> tuple[int, bytes]:
    row = connection.execute(_HEAD).fetchone()
    assert row is not None
    return int(row[0]), bytes(row[1])


def _digests(connection: "psycopg.Connection[Any]", *, after: int) -> dict[int, bytes]:
    query = "SELECT notification_id, digest FROM events WHERE notification_id >= %s"
    return {int(position): bytes(digest) for position, digest in connection.execute(query, [after])}


def _payments(connection: "psycopg.Connection[Any]", after: int) -> frozenset[int]:
    return frozenset(row[0] for row in connection.execute(_PAYMENTS, [after]))


def _keys(connection: "psycopg.Connection[Any]", after: int) -> frozenset[str]:
    return frozenset(row[0] for row in connection.execute(_KEYS, [after]) if row[0] is not None)


class GivenTwice(NamedTuple):
    """Payment ids and gateway keys that were given again after they had been lost.

    `again` has the keys of payments that were kept, which must be given again.
    """

    payments: set[int]
    keys: set[str]
    again: set[str]

    @property
    def found(self) -> list[str]:
        """The differences, in sentences."""
        return [
            *(f"payment id {number} was lost with a restore, and given again" for number in sorted(self.payments)),
            *(f"the gateway key {key} was lost with a restore, and given again" for key in sorted(self.keys)),
        ]


def given_twice(connection: "psycopg.Connection[Any]", losses: Sequence[Loss]) -> GivenTwice:
    """Find the lost ids and keys that were given again, in the store as it is now or in one that was lost later."""
    payments, keys = set(_payments(connection, 0)), set(_keys(connection, 0))
    twice = GivenTwice(set(), set(), set())
    for loss in reversed(losses):
        twice.payments.update(loss.payments & payments)
        for key in loss.keys & keys:
            (twice.keys if payment_of(key) in loss.payments else twice.again).add(key)
        payments |= loss.payments
        keys |= loss.keys
    return twice


def payment_of(key: str) -> int:
    """Return the id of the payment that a gateway key is made of."""
    return int(without_salt(key).split("-")[1])
