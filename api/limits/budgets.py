"""Budgets: how much of its rates each caller has left, in the memory of one process.

A rate refills steadily, by the generic cell rate algorithm: of a rate of 10 a second, one unit comes back each tenth
of a second, and at most 10 are there at a time. A caller's state for a rate is one number, the time at which the whole
rate is there again. A request that is refused uses up nothing.

The clock is the monotonic one of the process, which nobody can set.
"""

import math
import time
from collections.abc import Awaitable, Sequence
from typing import Final, Protocol

from msgspec import Struct

CALLERS_MAX: Final = 100_000
"""Callers in memory. Beyond it the first ones that came are forgotten, and have their whole rates again."""

_SWEEP_FROM: Final = 1_024
_ROUNDING: Final = 1e-6
"""A share of a unit that counts as nothing, because times are binary fractions."""


class Rate(Struct, frozen=True):
    """A rate: its name in headers, and so many units in so many seconds."""

    name: str
    quota: int
    window_seconds: int

    @property
    def unit_seconds(self) -> float:
        """How long one unit takes to come back."""
        return self.window_seconds / self.quota


class Budget(Struct, frozen=True):
    """The rest of a caller's rate. `wait_seconds` is the time until more is there; if refused, until enough is."""

    rate: Rate
    remaining: int
    wait_seconds: float
    refused: bool = False


class Charge(Struct, frozen=True):
    """The units of a rate that a request uses up."""

    rate: Rate
    units: int


def spend(charge: Charge, whole_at: float, now: float) -> tuple[float, Budget]:
    """Use up units of a rate that is whole again at a time. Returns its new time, and the budget that is left.

    A time later than a whole window from now is one of a clock that was set, and counts as the end of that window.
    """
    rate, unit = charge.rate, charge.rate.unit_seconds
    begin = min(max(whole_at, now), now + rate.window_seconds)
    end = begin + charge.units * unit
    late = end - (now + rate.window_seconds)
    if late > _ROUNDING * unit:
        return begin, Budget(rate, _units_left(rate, begin - now), late, refused=True)
    left = _units_left(rate, end - now)
    next_in = (left + 1) * unit - (rate.window_seconds - (end - now)) if left < rate.quota else 0.0
    return end, Budget(rate, left, next_in)


def _units_left(rate: Rate, used_seconds: float) -> int:
    return math.floor((rate.window_seconds - used_seconds) / rate.unit_seconds + _ROUNDING)


class Budgets(Protocol):
    """The budgets of callers, wherever they are kept."""

    def take(self, caller: str, charges: Sequence[Charge]) -> list[Budget] | Awaitable[list[Budget]]:
        """Use up all the charges of a caller's request, or none if one of its rates has too little left."""

    async def close(self) -> None:
        """Close what the budgets are kept in."""


class MemoryBudgets:
    """The budgets of the callers of one process."""

    def __init__(self, *, callers_max: int = CALLERS_MAX) -> None:
        self._whole_at: dict[tuple[str, str], float] = {}
        self._callers_max = callers_max
        self._sweep_at = _SWEEP_FROM

    def take(self, caller: str, charges: Sequence[Charge], *, now: float | None = None) -> list[Budget]:
        """Use up all the charges of a caller's request, or none if one of its rates has too little left."""
        now = time.monotonic() if now is None else now
        spent = [spend(charge, self._whole_at.get((caller, charge.rate.name), now), now) for charge in charges]
        if not any(budget.refused for _, budget in spent):
            for charge, (whole_at, _) in zip(charges, spent, strict=True):
                self._whole_at[caller, charge.rate.name] = whole_at
            if len(self._whole_at) > self._sweep_at:
                self._sweep(now)
        return [budget for _, budget in spent]

    async def close(self) -> None:
        """Do nothing; the memory goes with the process."""

    def _sweep(self, now: float) -> None:
        """Forget the callers whose rates are whole, and the first ones of too many."""
        kept = [(key, at) for key, at in self._whole_at.items() if at > now]
        self._whole_at = dict(kept[-self._callers_max :])
        self._sweep_at = max(_SWEEP_FROM, min(2 * len(self._whole_at), self._callers_max))
