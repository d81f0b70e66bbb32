"""The circuit breaker as pure rules: when it opens, and which calls use up no attempt of their payment.

A gateway is away when it gives no answer, or answers with a 5xx. Each worker counts such calls since the last one with
another answer, and opens the breaker, which all workers share, after so many in a row. It closes when a probe is
answered.

A call that was surely not accepted (a connection that was not made, a 429) uses up no attempt while it says something
about the gateway and nothing about the payment. A connection that was not made does so within the patience of an
outage. A 429 can be about the card or the account of one payment: `Refusals` tells.
"""

from collections import OrderedDict
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from processors.gateways.outcomes import AnswerFacts, NotAccepted

PAYMENTS_MAX: Final = 10_000
"""The 429 of so many payments are remembered. One that is forgotten begins again with a short wait."""


class BreakerPolicy(Struct, frozen=True, kw_only=True):
    """The settings of the breaker; the defaults are those of the original, which had none.

    `failures` is how many calls in a row open it, 0 for never. While it is open, a call is made every `probe_seconds`.
    Calls that were not accepted use up attempts after `patience_seconds` of an outage, with 0 always.
    """

    failures: int = 0
    probe_seconds: float = 5.0
    patience_seconds: float = 0.0

    def __post_init__(self) -> None:
        """Raise ValueError for a setting out of its range."""
        if self.failures < 0:
            raise ValueError("failures must be 0 or more")
        if not (0 < self.probe_seconds < float("inf") and 0 <= self.patience_seconds < float("inf")):
            raise ValueError("probe seconds must be above 0, patience seconds 0 or more, and both finite")


class Breaker:
    """Counts the calls in a row that a gateway did not answer. Times are seconds of a clock that nobody sets."""

    def __init__(self, policy: BreakerPolicy) -> None:
        self._policy = policy
        self.failures = 0
        self._away_since: float | None = None

    def saw(self, answer: AnswerFacts, *, now: float) -> None:
        """Count the answer of a call or an inquiry."""
        if is_away(answer):
            self.failures += 1
            self._away_since = now if self._away_since is None else self._away_since
        else:
            self.failures, self._away_since = 0, None

    @property
    def is_tripped(self) -> bool:
        """Whether so many calls in a row have failed that the breaker has to open."""
        return 0 < self._policy.failures <= self.failures

    def uses_up_no_attempt(self, answer: AnswerFacts, *, now: float) -> bool:
        """Tell whether a call, which `saw` has counted and which got no 429, uses up no attempt of its payment."""
        if not isinstance(answer.outcome, NotAccepted):
            return False
        away_seconds = 0.0 if self._away_since is None else now - self._away_since
        return away_seconds < self._policy.patience_seconds


class Refusal(Struct, frozen=True):
    """The 429 in a row of one series of calls: the first, how many, and the gateway's lead after the last of them."""

    since: float
    count: int
    lead: int


class Refusals:
    """The 429 that a worker got. Times are seconds of a clock that nobody sets.

    A 429 is about its payment if, since the payment's last one, more calls were answered than others got a 429 too. A
    gateway that limits all of its callers refuses more calls than it answers. After the patience it counts in any case.
    """

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._of: OrderedDict[tuple[int, int], Refusal] = OrderedDict()
        self._lead = 0  # how many more calls were answered than got a 429

    def answered(self, payment_id: int, series: int) -> None:
        """Take in that a call got an answer other than 429 and 5xx."""
        self._lead += 1
        self._of.pop((payment_id, series), None)

    def refused(self, payment_id: int, series: int, *, now: float) -> tuple[int, bool]:
        """Take in a 429. Tells which one in a row it is for its payment, and whether it uses up an attempt of it."""
        before = self._of.pop((payment_id, series), Refusal(since=now, count=0, lead=self._lead))
        is_of_payment = self._lead > before.lead
        self._lead -= 1
        self._of[payment_id, series] = Refusal(since=before.since, count=before.count + 1, lead=self._lead)
        if len(self._of) > PAYMENTS_MAX:
            self._of.popitem(last=False)
        return before.count + 1, is_of_payment or now - before.since >= self._patience_seconds


def is_busy(answer: AnswerFacts) -> bool:
    """Tell whether a gateway did not accept a call, and said so: a 429."""
    return isinstance(answer.outcome, NotAccepted) and answer.http_status is not None


def is_away(answer: AnswerFacts) -> bool:
    """Tell whether a gateway gave no answer, or one that says that it cannot work."""
    return answer.http_status is None or answer.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
