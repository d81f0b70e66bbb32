"""Asks the gateway about a payment, for an operator who is about to decide.

An inquiry is one call with a short deadline, and nothing of the database is held while it runs. Nothing is asked while
the gateway is paused, held, or behind an open breaker, as for the workers. No answer is an answer too: it says why.
"""

from typing import Final

from msgspec import Struct

from api.queries.pool import ReadPool
from api.runtime.gateway_tls import gateway_tls
from api.settings import Settings
from ledger import observe
from ledger.domain.events import InquiryName
from ledger.operation.gateway import SQL, standing_of
from ledger.operation.state import GATEWAY, GatewayWord
from processors.gateways.client import Gateway
from processors.gateways.outcomes import InquiryAnswer
from processors.payments.breaker import Breaker, BreakerPolicy

INQUIRY_SECONDS_MAX: Final = 2.0
"""How long an operator's inquiry may take, so that an answer over HTTP comes within its 5 seconds."""

AT_A_TIME: Final = 32
"""How many inquiries a decision about many letters makes at a time."""

FAILURES_MAX: Final = 20
"""After so many calls in a row without an answer the gateway is not asked any more, where no setting says another."""

_WHY_NOT: Final[dict[GatewayWord, str]] = {
    "paused": "gateway_paused",
    "open": "gateway_breaker_open",
    "held": "gateway_held",
}

_AWAY: Final = "gateway_away"


def late_inquiry_seconds(settings: Settings) -> float | None:
    """Return after how long the gateway is asked again about a payment that is closed as failed; None for never."""
    waits = settings.gateway_late_inquiry_seconds
    return waits[0] if waits and settings.gateway_inquiry else None


class GatewaySaid(Struct, frozen=True):
    """The gateway's answer about a key; None if it was not asked. `error` gives the reason for an unclear answer."""

    answer: InquiryName | None = None
    error: str | None = None


class GatewayQuestions:
    """Asks one gateway. The client connects with the first inquiry."""

    def __init__(self, settings: Settings, pool: ReadPool) -> None:
        """Prepare to ask the gateway of the settings; `pool` reads whether it may be called."""
        self._settings = settings
        self._pool = pool
        self._gateway: Gateway | None = None

    async def close(self) -> None:
        """Close the connections to the gateway."""
        if self._gateway is not None:
            await self._gateway.aclose()

    async def why_not(self) -> str | None:
        """Tell why the gateway is not asked now, in a word; None when it may be. Raises DatabaseUnavailable."""
        if not self._settings.gateway_inquiry:
            return "gateway_cannot_be_asked"
        if self._settings.payment_gateway_url is None and not self._settings.demo_gateway:
            return "gateway_not_configured"
        rows = await self._pool.rows(SQL["read_state"], {"gateway": GATEWAY})
        return _WHY_NOT.get(standing_of(rows[0]).word)

    async def ask(self, payment_id: int, gateway_key: str) -> GatewaySaid:
        """Ask about one payment under one key, if the gateway may be called. Raises DatabaseUnavailable."""
        if (why := await self.why_not()) is not None:
            return GatewaySaid(error=why)
        return said(await self.inquire(payment_id, gateway_key))

    async def inquire(self, payment_id: int, gateway_key: str) -> InquiryAnswer:
        """Make one inquiry, without looking whether the gateway may be called."""
        answer = await self._client().inquire(payment_id, gateway_key)
        outcome = type(answer.outcome).__name__.lower()
        observe.report(observe.GatewayCalled(action="inquire", outcome=outcome, seconds=answer.elapsed_ms / 1000))
        return answer

    def _client(self) -> Gateway:
        if self._gateway is None:
            self._gateway = Gateway(
                self._settings.gateway_base_url,
                timeout_seconds=min(self._settings.gateway_timeout_seconds, INQUIRY_SECONDS_MAX),
                connections_max=AT_A_TIME,
                tls=gateway_tls(self._settings),
            )
        return self._gateway


class ManyQuestions:
    """The inquiries of one decision about many letters; they stop when the gateway seems to be away.

    This breaker is its own, and opens the shared one for nobody: an operator's inquiries must not hold the payments.
    """

    def __init__(self, questions: GatewayQuestions, settings: Settings) -> None:
        self._questions = questions
        self._breaker = Breaker(BreakerPolicy(failures=settings.gateway_breaker_failures or FAILURES_MAX))
        self._why_not: str | None = None

    async def look(self) -> None:
        """Look whether the gateway may be called; do so before each few inquiries. Raises DatabaseUnavailable."""
        if self._why_not != _AWAY:
            self._why_not = await self._questions.why_not()

    async def ask(self, payment_id: int, gateway_key: str) -> GatewaySaid:
        """Ask about one payment, as the last look allows."""
        if self._why_not is not None:
            return GatewaySaid(error=self._why_not)
        answer = await self._questions.inquire(payment_id, gateway_key)
        self._breaker.saw(answer, now=0.0)
        if self._breaker.is_tripped:
            self._why_not = _AWAY
        return said(answer)


def said(answer: InquiryAnswer) -> GatewaySaid:
    """Say an answer in the words of an event."""
    name = answer.outcome.NAME
    return GatewaySaid(name, answer.error if name == "no_clear_answer" else None)
