"""The gate before a gateway: whether it may be called, as all workers see it.

The state is in the database (`ledger.operation`), and the statement of the claim reads it. This module is a worker's
part in it: it gives back the calls that were not accepted, holds the gateway for as long as it asked for, and opens and
closes the circuit breaker by the worker's own calls.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final, Literal

import psycopg
import structlog

from ledger import observe
from ledger.domain.events import GatewayChange
from ledger.errors import LedgerError
from ledger.operation.gateway import change_gateway
from ledger.operation.state import GATEWAY
from ledger.store.array_parameters import Bigints
from ledger.store.database import Database
from ledger.store.statements import load_statements
from processors.gateways.outcomes import AnswerFacts, NotAccepted, Unknown
from processors.payments.breaker import Breaker, Refusals, is_away, is_busy
from processors.payments.reports import Claim
from processors.payments.retry_policy import RetryPolicy

SQL: Final = load_statements("processors.payments", "gateway_gate.sql")

Connection = psycopg.AsyncConnection[Any]
_log = structlog.get_logger()


class GatewayGate:
    """A worker's part in the state of its gateway; `worker` is the name under which it claims."""

    def __init__(
        self,
        database: Database,
        policy: RetryPolicy,
        *,
        worker: str,
        steady: Callable[[], float],
        gateway: str = GATEWAY,
    ) -> None:
        self.is_open = False
        self._database = database
        self._policy = policy
        self._worker = worker
        self._steady = steady
        self._gateway = gateway
        self._breaker = Breaker(policy.breaker)
        self._refusals = Refusals(policy.breaker.patience_seconds)
        self._not_accepted: list[tuple[Claim, timedelta | None]] = []
        self._hold_seconds: float | None = None
        self._changing: asyncio.Task[None] | None = None

    @property
    def parameters(self) -> dict[str, object]:
        """The parameters of the statements that read or write the gateway's row."""
        return {
            "gateway": self._gateway,
            "hold_max": timedelta(seconds=self._policy.retry_wait_seconds_max),
            "interval": timedelta(seconds=self._policy.breaker.probe_seconds),
        }

    def saw(self, action: Literal["pay", "inquire"], answer: AnswerFacts, *, probing: bool) -> None:
        """Take in an answer, and open or close the breaker if it says so.

        Only calls open it: inquiries have growing waits of their own, and where they fail the calls may work.
        """
        outcome = type(answer.outcome).__name__.lower()
        observe.report(observe.GatewayCalled(action=action, outcome=outcome, seconds=answer.elapsed_ms / 1000))
        is_call = action == "pay"
        if is_call:
            self._breaker.saw(answer, now=self._steady())
        if isinstance(answer.outcome, NotAccepted | Unknown) and answer.outcome.retry_after_seconds is not None:
            self._hold(answer.outcome.retry_after_seconds)
        if is_call and self._breaker.is_tripped:
            self._change("breaker_opened", f"{self._breaker.failures} calls in a row failed, the last: {answer.error}")
        elif probing and not is_away(answer):
            self._change("breaker_closed", "a probe was answered")

    def takes_back(self, claim: Claim, answer: AnswerFacts) -> bool:
        """Take back a call that was not accepted, to be made again without a new attempt; false if it counts as one.

        After a 429 it is made after a wait, which grows, so a 429 that is about this payment holds up no others.
        """
        now, wait = self._steady(), None
        if is_busy(answer):
            count, uses_up_attempt = self._refusals.refused(claim.payment_id, claim.series, now=now)
            if uses_up_attempt:
                return False
            wait = self._wait_after_busy(count, answer)
        elif not is_away(answer):
            self._refusals.answered(claim.payment_id, claim.series)
            return False
        elif not self._breaker.uses_up_no_attempt(answer, now=now):
            return False
        self._not_accepted.append((claim, wait))
        self._hold(None)
        return True

    def _wait_after_busy(self, count: int, answer: AnswerFacts) -> timedelta:
        asked = answer.outcome.retry_after_seconds if isinstance(answer.outcome, NotAccepted) else None
        return timedelta(seconds=self._policy.delay_seconds(count, retry_after_seconds=asked, jitter=0.0))

    def _hold(self, seconds: float | None) -> None:
        """Hold the gateway for the seconds that it asked for, or as long as before a retry."""
        wait = self._policy.delay_seconds(max(1, self._breaker.failures), retry_after_seconds=seconds, jitter=0.0)
        self._hold_seconds = max(wait, self._hold_seconds or 0.0)

    async def settle(self, connection: Connection) -> None:
        """Give back the calls that were not accepted, and hold the gateway."""
        if (seconds := self._hold_seconds) is not None:
            wait = {"wait": timedelta(seconds=seconds)}
            await connection.execute(SQL["hold"], self.parameters | wait, prepare=True)
            if self._hold_seconds == seconds:  # another answer may have asked for more since then
                self._hold_seconds = None
        if claims := self._not_accepted[:]:
            parameters = {
                "payment_ids": Bigints([claim.payment_id for claim, _ in claims]),
                "series": Bigints([claim.series for claim, _ in claims]),
                "attempts": Bigints([claim.attempt for claim, _ in claims]),
                "waits": [wait for _, wait in claims],
                "worker": self._worker,
            }
            await connection.execute(SQL["give_back_calls"], parameters, prepare=True)
            del self._not_accepted[: len(claims)]

    async def begin_probe(self, connection: Connection) -> bool:
        """Tell whether this worker may probe the gateway now."""
        cursor = await connection.execute(SQL["begin_probe"], self.parameters, prepare=True)
        return cursor.rowcount == 1

    # --- changes ---

    def _change(self, change: GatewayChange, why: str) -> None:
        """Change the state beside the worker's other work, one change at a time."""
        if self._changing is None or self._changing.done():
            self._changing = asyncio.create_task(self._changed(change, why))

    async def _changed(self, change: GatewayChange, why: str) -> None:
        """Change the state. If the database cannot be reached, the next answer tries again."""
        after = timedelta(seconds=self._policy.breaker.probe_seconds)
        try:
            standing = await asyncio.to_thread(
                change_gateway, self._database, change, why=why, probe_after=after, gateway=self._gateway
            )
        except (psycopg.Error, LedgerError) as error:
            _log.warning("gateway_not_changed", change=change, because=str(error).strip())
            return
        self.is_open = standing.state.opened is not None
        self._breaker.failures = 0

    async def stop(self) -> None:
        """Wait for a change that is under way."""
        if self._changing is not None:
            await self._changing
