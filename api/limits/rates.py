"""The check of rates: how many requests a second, and payments a minute, a caller may send.

The caller is the key of the request, and without a valid one the address of the client. The check runs the check of
keys itself, so that it also counts the requests that keys are refused for.
"""

import ipaddress
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from litestar.types import Scope

from api.auth.access import AnyRequest, caller_of
from api.errors import RequestError, RequestInvalid, TooManyPayments, TooManyRequests
from api.limits.budgets import Budget, Charge, Rate
from api.limits.headers import note_budgets, seconds_until_more
from api.limits.marks import is_unlimited, takes_payment

REQUESTS: Final = "requests"
PAYMENTS: Final = "payments"

_IPV6_NETWORK_BITS: Final = 64
"""A client of IPv6 has a whole network of this size, and could send each request from another address of it."""

Check = Callable[[AnyRequest], Awaitable[None] | None]
Take = Callable[[str, Sequence[Charge]], list[Budget] | Awaitable[list[Budget]]]


class RateLimits:
    """The rates of all callers, and the check that counts their requests."""

    def __init__(
        self,
        check_key: Check,
        take: Take,
        *,
        requests_per_second: int,
        payments_per_minute: int,
    ) -> None:
        """Count requests that `check_key` has looked at, and those that it refuses. A rate of 0 is not limited.

        `take` uses up the charges of a caller.
        """
        self._check_key = check_key
        self._take = take
        self._requests = Rate(REQUESTS, requests_per_second, 1) if requests_per_second else None
        self._payments = Rate(PAYMENTS, payments_per_minute, 60) if payments_per_minute else None
        one_request = [Charge(rate, 1) for rate in (self._requests,) if rate is not None]
        self._of_request = one_request
        self._of_payment = one_request + [Charge(rate, 1) for rate in (self._payments,) if rate is not None]

    def __call__(self, request: AnyRequest) -> Awaitable[None] | None:
        """Check the key of a request and count it. Raises what the check of keys does, and TooManyRequests."""
        handler = request.scope["route_handler"]
        if is_unlimited(handler):
            return self._check_key(request)
        charges = self._of_payment if takes_payment(handler) else self._of_request
        try:
            checking = self._check_key(request)
        except RequestError as refusal:
            return self._refuse(request, refusal)
        if checking is not None:
            return self._count_after(checking, request, charges)
        return self._count(request.scope, charges) if charges else None

    def take_payments(self, request: AnyRequest, payments: int) -> Awaitable[None] | None:
        """Count the payments of a batch. Raises TooManyPayments, and RequestInvalid for more than a whole rate."""
        rate = self._payments
        if rate is None:
            return None
        if payments > rate.quota:
            raise RequestInvalid.at(PAYMENTS, f"are {payments}, and the caller may send {rate.quota} a minute")
        return self._count(request.scope, [Charge(rate, payments)])

    async def _count_after(self, checking: Awaitable[None], request: AnyRequest, charges: Sequence[Charge]) -> None:
        try:
            await checking
        except RequestError as refusal:
            await self._refuse(request, refusal)
        if (counting := self._count(request.scope, charges)) is not None:
            await counting

    async def _refuse(self, request: AnyRequest, refusal: RequestError) -> None:
        """Count a request that is refused for its key, and refuse it."""
        if (counting := self._count(request.scope, self._of_request)) is not None:
            await counting
        raise refusal

    def _count(self, scope: Scope, charges: Sequence[Charge]) -> Awaitable[None] | None:
        taken = self._take(_caller(scope), charges)
        if isinstance(taken, list):
            _judge(scope, taken)
            return None
        return _judge_later(scope, taken)


async def _judge_later(scope: Scope, taking: Awaitable[list[Budget]]) -> None:
    _judge(scope, await taking)


def _judge(scope: Scope, budgets: Sequence[Budget]) -> None:
    """Note the budgets of a request, and refuse it if one of them has too little left."""
    note_budgets(scope, budgets)
    refusing = [budget for budget in budgets if budget.refused]
    if refusing:
        longest = max(refusing, key=lambda budget: budget.wait_seconds)
        error = TooManyPayments if longest.rate.name == PAYMENTS else TooManyRequests
        raise error(retry_after_seconds=max(1, seconds_until_more(longest)))


def _caller(scope: Scope) -> str:
    """Name the caller of a request by its key, or by the address or IPv6 network of its client."""
    key = caller_of(scope)
    if key is not None:
        return key.by
    client = scope.get("client")
    return network_of(client[0]) if client else "unknown"


def network_of(host: str) -> str:
    """Return the address of a client, or its network for IPv6."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:  # noqa: PLR2004 - the version of the protocol
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address.packed, _IPV6_NETWORK_BITS), strict=False))
