"""The headers `RateLimit` and `RateLimit-Policy` of draft-ietf-httpapi-ratelimit-headers, as structured fields.

`RateLimit-Policy: "requests";q=10;w=1` names a policy, its quota and its window in seconds. `RateLimit:
"requests";r=7;t=1` has the rest of it, and the seconds until more is there.
"""

import math
from collections.abc import Sequence
from typing import Any, Final, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.limits.budgets import Budget

_BUDGETS: Final = "ledger.budgets"


def note_budgets(scope: Scope, budgets: Sequence[Budget]) -> None:
    """Note what a request has left of its caller's rates, for the headers of its answer."""
    kept: dict[str, Budget] = cast("dict[str, Any]", scope).setdefault(_BUDGETS, {})
    kept.update({budget.rate.name: budget for budget in budgets})


class RateLimitHeaders:
    """Wraps the application: adds the headers to the answer of each request whose budgets are noted."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and add the headers to its answer."""

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                budgets = cast("dict[str, Any]", scope).get(_BUDGETS)
                if budgets:
                    message["headers"] = [*message["headers"], *rate_limit_headers([*budgets.values()])]
            await send(message)

        await self._app(scope, receive, answer)


def rate_limit_headers(budgets: Sequence[Budget]) -> list[tuple[bytes, bytes]]:
    """Write the headers about budgets."""
    policies = (f'"{each.rate.name}";q={each.rate.quota};w={each.rate.window_seconds}' for each in budgets)
    limits = (f'"{each.rate.name}";r={each.remaining};t={seconds_until_more(each)}' for each in budgets)
    return [(b"ratelimit-policy", ", ".join(policies).encode()), (b"ratelimit", ", ".join(limits).encode())]


def seconds_until_more(budget: Budget) -> int:
    """Return the whole seconds after which more of a rate is there; 0 while all of it is."""
    return math.ceil(budget.wait_seconds - 1e-6)
