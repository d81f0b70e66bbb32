"""All faults of a campaign, each declared once, and the loop that injects them.

A fault is a function of the run. One that has two steps returns the seconds until its second one. A habit is a fault of
the gateway that lasts for the whole run.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple

from msgspec import Struct

from tests.chaos import database_faults, process_faults
from tests.chaos.interrupted_migrations import interrupt_migration
from tests.chaos.operators import Operators
from tests.chaos.restores import Restores
from tests.chaos.run import Run
from tests.support.servers.stepped_clock import find_library

_PROGRESS_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.2
_FIRST: Final = (0.1, 0.6)
"""The first injection, as a share of the period or of the whole run: each fault is injected even in a short run."""


def _nothing() -> str:
    return ""


def _faketime() -> str:
    return "" if find_library() is not None else "the package faketime is not installed"


class Fault(Struct, frozen=True):
    """A fault: its name, how often a minute it is injected, and the function that does it.

    `needs` names the program that this machine lacks; empty when the fault can be injected.
    """

    name: str
    per_minute: float
    inject: Callable[[Run], float | None]
    needs: Callable[[], str] = _nothing


class Habit(Struct, frozen=True):
    """A fault of the gateway that lasts for the run: the shares of keys (`ChaosProfile`) that have it."""

    name: str
    shares: Mapping[str, float]


def all_faults(restores: Restores, operators: Operators) -> tuple[Fault, ...]:
    """Return the table of faults for one run."""
    return (
        Fault("kill", 12, process_faults.kill),
        Fault("freeze", 4, process_faults.freeze),
        Fault("suspend", 2, process_faults.suspend),
        Fault("suspend-machine", 0.4, process_faults.suspend_machine),
        Fault("lose-connection", 16, database_faults.lose_connection),
        Fault("end-session", 4, database_faults.end_session),
        Fault("crash-postgres", 2.4, database_faults.crash_postgres),
        Fault("hang-postgres", 0.4, database_faults.hang_postgres),
        Fault("step-clock", 2, database_faults.step_clock, needs=_faketime),
        Fault("restore", 0.4, restores),
        Fault("interrupt-migration", 1, interrupt_migration),
        Fault("stop-in-order", 1.5, process_faults.stop_in_order),
        Fault("two-operators", 5, operators.decide_at_once),
        Fault("requeue-anything", 3, operators.requeue_anything),
        Fault("requeue-many", 2, operators.requeue_many),
        Fault("look-after", 1.5, operators.look_after),
    )


HABITS: Final = (
    Habit("refuse-repeats", {"duplicate_share": 0.1}),
    Habit("429-in-rows", {"row_share": 0.1}),
    Habit("settle-after-not-found", {"after_all_share": 0.02}),
)


class Chosen(NamedTuple):
    """The faults and habits of a run, and the reasons why others are left out, by name."""

    faults: list[Fault]
    habits: list[Habit]
    left_out: dict[str, str]


def choose(faults: Iterable[Fault], names: Collection[str] = ()) -> Chosen:
    """Choose the named faults and habits; without names every one. Raises ValueError for a name that is none."""
    rows: list[Fault | Habit] = [*faults, *HABITS]
    table = {each.name: each for each in rows}
    if unknown := set(names) - table.keys():
        raise ValueError(f"no fault is called {', '.join(sorted(unknown))}; there are {', '.join(table)}")
    chosen = Chosen([], [], {})
    for name, each in table.items():
        needs = each.needs() if isinstance(each, Fault) else ""
        if reason := needs or ("not chosen" if names and name not in names else ""):
            chosen.left_out[name] = reason
        elif isinstance(each, Fault):
            chosen.faults.append(each)
        else:
            chosen.habits.append(each)
    return chosen


def inject_faults(run: Run, faults: Collection[Fault], minutes: float, progress: Callable[[str], None]) -> None:
    """Inject faults, each as often as its row says, for so many minutes."""
    began = time.monotonic()
    ends, tell_at = began + 60 * minutes, began
    begun: set[Fault] = set()
    due = {fault: began + run.dice.uniform(*_FIRST) * 60 * min(minutes, 1 / fault.per_minute) for fault in faults}
    while (now := time.monotonic()) < ends:
        run.continue_frozen(now)
        if now >= tell_at:
            tell_at = now + _PROGRESS_SECONDS
            died = sum(run.fleet.hits.values())
            progress(f"{(now - began) / 60:.1f} min: {run.counts.total()} faults, {died} deaths at fail points")
        fault = min(due, key=lambda each: due[each], default=None)
        if fault is None or due[fault] > now:
            time.sleep(_LOOK_SECONDS if fault is None else min(_LOOK_SECONDS, due[fault] - now))
            continue
        again = fault.inject(run)
        (begun.discard if again is None else begun.add)(fault)
        seconds = 60 / fault.per_minute * run.dice.uniform(0.6, 1.4) if again is None else again
        due[fault] = time.monotonic() + seconds
    for fault in begun:  # their second steps
        while (again := fault.inject(run)) is not None:
            run.continue_frozen()
            time.sleep(again)
