"""Checks the parameters of an address, and describes the errors in them.

A parameter that the route does not know is refused: a list that ignores its filter would show everything.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast
from urllib.parse import parse_qsl

from litestar import Request
from litestar.exceptions import HTTPException
from litestar.handlers import BaseRouteHandler
from litestar.params import ParameterKwarg, QueryParameter

from api.errors import FieldError, RequestInvalid
from api.input.messages import plain, values_of
from api.input.nearest import UNKNOWN_MAX, advice, cut


def refuse_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Refuse a request whose address has parameters that its route does not know. Raises RequestInvalid."""
    text = request.scope["query_string"]
    if not text or request.method == "OPTIONS":
        return
    handler = handler_of(request)
    known = () if handler is None else known_parameters(handler)
    given = dict.fromkeys(name for name, _ in parse_qsl(text.decode("latin-1"), keep_blank_values=True))
    unknown = [name for name in given if name not in known][:UNKNOWN_MAX]
    if unknown:
        raise RequestInvalid(
            errors=tuple(FieldError(cut(name), advice(name, known, given, noun="parameter")) for name in unknown)
        )


def handler_of(request: Request[Any, Any, Any]) -> BaseRouteHandler | None:
    """Return the handler of a request; None when the router found none."""
    found: BaseRouteHandler | None = cast("dict[str, Any]", request.scope).get("route_handler")
    return found


@cache
def known_parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Return the names of the query parameters that a handler takes, as an address has them."""
    fields = handler.parsed_fn_signature.parameters.items()
    kwargs = [(name, field.kwarg_definition) for name, field in fields]
    return tuple(kwarg.name or name for name, kwarg in kwargs if isinstance(kwarg, QueryParameter))


def parameter_errors(error: HTTPException, handler: BaseRouteHandler | None) -> Iterator[FieldError]:
    """Describe the errors in the parameters that Litestar refuses."""
    fields = {} if handler is None else handler.parsed_fn_signature.parameters
    extra = error.extra if isinstance(error.extra, list) else []
    for each in extra:
        if "key" in each:
            field = fields.get(each["key"])
            kwarg = None if field is None else field.kwarg_definition
            name = kwarg.name if isinstance(kwarg, ParameterKwarg) else None
            values = () if field is None else values_of(field.annotation)
            yield FieldError(name or each["key"], plain(each["message"], values=values, in_address=True))
