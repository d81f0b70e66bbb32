"""Migrations that die in the middle, in schemas beside the ledger's: an empty one, or a store of an earlier version.

`migrate` is killed before some of its statements or before its COMMIT, and then carried out; the audit looks at the
store that it leaves.
"""

import random
from contextlib import ExitStack, suppress
from typing import Final

import psycopg

from ledger.store.database import Database
from ledger.store.migrate import migrations
from tests.chaos.fleet import Fleet, Member
from tests.chaos.run import Run
from tests.support.databases import remove
from tests.support.stores import BEFORE_THE_ROOMS, stored

INTERRUPTIONS: Final = (1, 3)
TRIES_MAX: Final = 10

STATEMENTS: Final = sum(len(migration.statements) for migration in migrations())


def interrupt_migration(run: Run) -> None:
    """Begin an interrupted migration, beside the other faults."""
    seed, world = run.dice.random(), run.world
    run.faults["migration interrupted"] += 1

    def migrate() -> None:
        dice = random.Random(seed)
        with suppress(psycopg.Error), ExitStack() as stack:
            if dice.random() < 0.5:
                database = stack.enter_context(stored(run.url, BEFORE_THE_ROOMS))
            else:
                database = Database(run.url, f"empty_{dice.randrange(10**9)}")
                stack.callback(remove, database)
            wrong = interrupted(run.fleet, database, dice)
            assert run.world != world or not wrong, wrong  # a restore takes the schema away

    run.beside("migrate", migrate)


def interrupted(fleet: Fleet, database: Database, dice: random.Random) -> str:
    """Kill `migrate` some times, carry it out, and audit the store. Returns the error, or an empty text."""
    settings = {"LEDGER_SCHEMA": database.schema}
    for _ in range(dice.randint(*INTERRUPTIONS)):
        member = Member(fleet, "migrate", "migrate", settings)
        at = dice.choice(["migrate.before_commit:1", f"migrate.before_statement:{dice.randint(1, STATEMENTS)}"])
        member.start("--at", at)
        member.wait_until_dead()
    wrong = ""
    for _ in range(TRIES_MAX):  # the database may be down
        for words in (("migrate",), ("audit", "verify")):
            done = fleet.run(*words, **settings)
            if words[0] == "migrate":
                fleet.run("rebuild", **settings)  # fills the read models that the earlier version did not have
            wrong = "" if done.returncode == 0 else f"{words[0]}: {done.stdout[-1000:]} {done.stderr[-1000:]}"
            if wrong:
                break
        if not wrong:
            break
    return wrong
