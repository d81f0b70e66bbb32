"""Hooks for those who measure the ledger: reports of its parts, and the observers that hear them.

No library for metrics is needed here. A part calls `report` with one of the structs below, and each observer that
`observe_with` was given hears it, on the thread of the part. An observer must be quick. One that raises is dropped,
because a measurement must not harm a payment.
"""

from collections.abc import Callable
from typing import Final, Literal

import structlog
from msgspec import Struct


class BatchWritten(Struct, frozen=True, kw_only=True):
    """A writer has committed a batch of `commands`.

    `head_wait_seconds` is how long the lock of the head and the first look-ups took, `commit_seconds` how long the
    COMMIT took, `waited_seconds` how long the first command had waited when the batch was committed.
    """

    commands: int
    head_wait_seconds: float
    commit_seconds: float
    waited_seconds: float


class GatewayCalled(Struct, frozen=True, kw_only=True):
    """A worker has called the gateway to pay or to inquire; `outcome` is the class of its answer, in lower case."""

    action: Literal["pay", "inquire"]
    outcome: str
    seconds: float


class PageApplied(Struct, frozen=True, kw_only=True):
    """A projector has applied a page of `events` to a group of read models."""

    group: str
    events: int
    seconds: float


Observation = BatchWritten | GatewayCalled | PageApplied
Observer = Callable[[Observation], None]

_observers: list[Observer] = []
_log: Final = structlog.get_logger()


def observe_with(observer: Observer) -> None:
    """Let an observer hear every report of this process from now on."""
    _observers.append(observer)


def stop_observing(observer: Observer) -> None:
    """Let an observer hear no more; one that was dropped already is ignored."""
    if observer in _observers:
        _observers.remove(observer)


def report(observation: Observation) -> None:
    """Tell every observer."""
    for observer in tuple(_observers):
        try:
            observer(observation)
        except Exception:  # noqa: BLE001 - a payment is worth more than its measurement
            stop_observing(observer)
            _log.exception("observer_dropped", observation=type(observation).__name__)
