"""How a route says in its options what it uses up of a caller's rates. A route that says nothing is one request."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from litestar.handlers import BaseRouteHandler

_MARK: Final = "uses_up"

UNLIMITED: Final[Mapping[str, Any]] = MappingProxyType({_MARK: "nothing"})
"""For probes and metrics: a limit on them would hide an overload from those who look for it."""

ONE_PAYMENT: Final[Mapping[str, Any]] = MappingProxyType({_MARK: "payment"})
"""For a route that takes one payment."""


def is_unlimited(handler: BaseRouteHandler) -> bool:
    """Tell whether a route uses up nothing."""
    return bool(handler.opt.get(_MARK) == "nothing")


def takes_payment(handler: BaseRouteHandler) -> bool:
    """Tell whether each request to a route is a payment."""
    return bool(handler.opt.get(_MARK) == "payment")
