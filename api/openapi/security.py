"""Describes the keys in the OpenAPI document: how a key is sent, which scope each route needs, and its refusals."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar

from api.auth.access import Need, rights_of
from api.errors import CrossSite, Forbidden, HostUnknown, KeyBoundElsewhere, ScopeMissing, Unauthenticated
from api.http.problems import MEDIA_TYPE, example_of
from ledger.errors import LedgerError

SCHEMES: Final[Mapping[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "pl_<id>_<secret>",
        "description": "A key, as `payment-ledger keys create` or POST /api/v1/keys shows it once.",
    },
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key without `Bearer`."},
}

_REFUSALS: Final[Mapping[HTTPStatus, tuple[type[LedgerError], ...]]] = {
    HTTPStatus.UNAUTHORIZED: (Unauthenticated,),
    HTTPStatus.FORBIDDEN: (ScopeMissing, KeyBoundElsewhere, CrossSite, HostUnknown, Forbidden),
}


def needs_of(app: Litestar) -> dict[str, Need]:
    """Return the scope that each operation needs, by the operation's id."""
    return {handler.handler_name: right.need for handler, right in rights_of(app).items()}


def secured(operation: dict[str, Any], need: Need | None, *, required: bool) -> dict[str, Any]:
    """Describe the keys that an operation takes; without `required` it takes requests without a key too."""
    if need in {None, "public"}:
        return operation | {"security": []}
    security: list[dict[str, list[Any]]] = [{name: [need]} for name in SCHEMES]
    responses = {str(status.value): _refusal(status, classes) for status, classes in _REFUSALS.items()}
    return operation | {
        "security": security if required else [*security, {}],
        "responses": operation["responses"]
        | {status: _joined(operation["responses"].get(status), refusal) for status, refusal in responses.items()},
    }


def _joined(own: dict[str, Any] | None, refusal: dict[str, Any]) -> dict[str, Any]:
    """Put the examples of a route's own refusals with a status beside those for the key."""
    if own is None:
        return refusal
    content = refusal["content"][MEDIA_TYPE]
    examples = content["examples"] | own["content"][MEDIA_TYPE]["examples"]
    described = ". ".join(sorted({each["value"]["title"] for each in examples.values()}))
    return refusal | {"description": described, "content": {MEDIA_TYPE: content | {"examples": examples}}}


def _refusal(status: HTTPStatus, classes: tuple[type[LedgerError], ...]) -> dict[str, Any]:
    examples = {each.code: {"value": example_of(each)} for each in classes}
    schema = {"$ref": "#/components/schemas/ProblemDocument"}
    described: dict[str, Any] = {
        "description": ". ".join(sorted(each["value"]["title"] for each in examples.values())),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }
    if status == HTTPStatus.UNAUTHORIZED:
        header = {"description": "How to send a key.", "schema": {"type": "string"}}
        described["headers"] = {"WWW-Authenticate": header}
    return described
