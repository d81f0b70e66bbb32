"""The reference page of routes: each address with its parameters and answers, from the OpenAPI document."""

from http import HTTPStatus
from typing import Any, Final

from litestar import Litestar

from api.app import create_app
from api.openapi.security import needs_of
from api.settings import Settings
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from tests.support.reference.markdown import code, page, table

METHODS: Final = ("get", "post", "put", "patch", "delete")

INTRODUCTION: Final = """\
Every route of the HTTP interface, from the OpenAPI document that the service serves at `/docs/openapi.json` (with
Swagger UI at `/docs`). That document also has the schemas and an example of every request and answer.
[Integrate](../guides/integrate.md) explains what all routes have in common. Every route can also answer
[`request_malformed`](errors.md#request_malformed), [`database_unavailable`](errors.md#database_unavailable) and
[`internal_error`](errors.md#internal_error); they are left out below. Where the service asks for
[keys](../guides/operate/keys.md), a route that is not public can answer [`unauthenticated`](errors.md#unauthenticated),
[`scope_missing`](errors.md#scope_missing) and [`key_bound_elsewhere`](errors.md#key_bound_elsewhere) too.

The routes below `/api/v1/mock-gateway` are there while payments go to the demo gateway."""

OF_ALL: Final = {"request_malformed", "database_unavailable", "internal_error"}


def routes_page() -> str:
    """Write the page."""
    document = openapi_document()
    found = [
        (path, method, operation)
        for path, item in sorted(document["paths"].items())
        for method, operation in item.items()
        if method in METHODS
    ]
    needs = needs_of(_application())
    overview = [
        (code(f"{method.upper()} {path}"), _first_sentence(operation["description"]), needs[operation["operationId"]])
        for path, method, operation in found
    ]
    sections = [table(["route", "what it does", "scope"], overview), *(_section(*each, document) for each in found)]
    return page("Routes", INTRODUCTION, sections)


def openapi_document() -> dict[str, Any]:
    """Describe an application that has every route."""
    schema: dict[str, Any] = _application().openapi_schema.to_schema()
    return schema


def _application() -> Litestar:
    return create_app(Settings.load({}, dotenv=None), Partitions.whole(Database("postgresql://localhost/none")))


def _section(path: str, method: str, operation: dict[str, Any], document: dict[str, Any]) -> str:
    pieces = [f"## {method.upper()} {path}", operation["description"]]
    if rows := _parameters(operation, document):
        pieces.append(table(["parameter", "in", "meaning"], rows))
    responses = sorted(operation["responses"].items())
    answers = [row for status, each in responses if (row := _answer(status, each, document)) is not None]
    pieces.append(table(["status", "answer"], answers))
    return "\n\n".join(pieces)


def _parameters(operation: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [(code(each["name"]), each["in"], each["description"]) for each in operation.get("parameters", ())]
    if (body := operation.get("requestBody")) is not None:
        ((_, content),) = body["content"].items()
        rows += _fields(content["schema"], document)
    return rows


def _fields(schema: dict[str, Any], document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Give the fields of a body."""
    found = _resolved(schema, document)
    wanted = found.get("required", ())
    return [(code(name), "body", "" if name in wanted else "optional") for name in found["properties"]]


def _answer(status: str, response: dict[str, Any], document: dict[str, Any]) -> tuple[str, str] | None:
    """Say what an answer is: its fields, or its codes; None where it has only those of every route."""
    contents = list(response.get("content", {}).values())
    if int(status) < HTTPStatus.BAD_REQUEST:
        return status, "; ".join(_shape(content["schema"], document) for content in contents)
    codes = sorted({name for content in contents for name in content.get("examples", ())} - OF_ALL)
    return (status, ", ".join(f"[{each}](errors.md#{each})" for each in codes)) if codes else None


def _shape(schema: dict[str, Any], document: dict[str, Any]) -> str:
    if schema.get("type") == "array":
        return f"a list of {_shape(schema['items'], document)}"
    found = _resolved(schema, document)
    names = ", ".join(map(code, found.get("properties", ())))
    return names or "an object"


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def _first_sentence(text: str) -> str:
    return text.split("\n\n", maxsplit=1)[0].partition(". ")[0].rstrip(".") + "."
