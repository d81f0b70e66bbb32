"""The API documentation: an OpenAPI document made from the handlers, and Swagger UI from local files, to work offline.

Schemas come from the structs of the handlers. A struct's docstring is its description, and its `EXAMPLE` is the example
in requests and answers that have it.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from http import HTTPStatus
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from litestar import MediaType, Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import License, Schema, Tag
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import PathParameter
from litestar.plugins import OpenAPISchemaPlugin
from litestar.typing import FieldDefinition
from msgspec import Raw, Struct

from api.auth.access import Need, allows
from api.http.responses import REPLAYED, Answer
from api.input.bodies import RequestBody
from api.openapi.links import LINKS
from api.openapi.security import SCHEMES, needs_of, secured
from ledger.domain.money import AMOUNT_CHARACTERS_MAX
from ledger.version import VERSION

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator


_STATIC: Final = files("api.openapi").joinpath("static")
_MEDIA_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui.css": "text/css; charset=utf-8",
    "favicon-32x32.png": "image/png",
    "docs.js": "text/javascript; charset=utf-8",
}
_FILES: Final = {name: _STATIC.joinpath(name).read_bytes() for name in _MEDIA_TYPES}
_PAGE: Final = _STATIC.joinpath("docs.html").read_text("utf-8")

_DIGITS: Final = r"^[0-9]+(\.[0-9]+)?$"
_DIGITS_ABOVE_ZERO: Final = r"^(0*[1-9][0-9]*(\.[0-9]+)?|0+\.0*[1-9][0-9]*)$"

_STATUSES_OF_GATEWAY: Final = {"422", "503"}
_DEMO_GATEWAY: Final = Tag("demo gateway", "A gateway for trying things out, while no real one is set.")

_DESCRIPTION: Final = """
Deposits and withdrawals, accepted at once and settled exactly once through a gateway that may fail.

* **Amounts** in requests are JSON numbers or strings such as `"12.50"`; in answers they are exact JSON numbers. With
  the header `Prefer: amounts=string` they are strings, and `Preference-Applied` says so.
* **`Idempotency-Key`** makes a request safe to repeat: the first answer is sent again, with `Idempotent-Replayed`.
* **Errors** are problem documents (RFC 9457) with a stable `code` and a `detail` that says what to do.
* **Keys** are sent as `Authorization: Bearer pl_...` or as `X-API-Key`, where the service asks for them; each route
  names the scope that it needs.
* **Fields and parameters** that a route does not know are refused, unless the service is set to ignore them.
* **Lists** come in pages; the `next_cursor` of one page is the `cursor` of the next.
* Every answer has an `X-Request-ID`; it is the client's own id when the client sent one.
"""


class EdgeSchemas(OpenAPISchemaPlugin):
    """Describes the types whose schema Litestar cannot derive: amounts, and structs that have a `SHAPE`."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Tell whether the type is an amount or has a `SHAPE`."""
        annotation = field_definition.annotation
        return annotation is Raw or annotation is Decimal or hasattr(annotation, "SHAPE")

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Return the schema of the type."""
        if shape := getattr(field_definition.annotation, "SHAPE", None):
            fields = {name: FieldDefinition.from_annotation(annotation) for name, annotation in shape.items()}
            return schema_creator.create_component_schema(
                field_definition, required=list(fields), property_fields=fields
            )
        if field_definition.annotation is Decimal:
            return Schema(
                type=OpenAPIType.NUMBER,
                description="An exact decimal with the currency's decimals; a string with `Prefer: amounts=string`.",
            )
        if getattr(field_definition.kwarg_definition, "gt", None) == 0:
            number = Schema(type=OpenAPIType.NUMBER, exclusive_minimum=0)
            text = Schema(type=OpenAPIType.STRING, pattern=_DIGITS_ABOVE_ZERO, max_length=AMOUNT_CHARACTERS_MAX)
        else:
            number = Schema(type=OpenAPIType.NUMBER, minimum=0)
            text = Schema(type=OpenAPIType.STRING, pattern=_DIGITS, max_length=AMOUNT_CHARACTERS_MAX)
        return Schema(one_of=[number, text], description="An amount with at most the decimals of its currency.")


class SchemaFile(JsonRenderPlugin):
    """Serves the OpenAPI document, with each struct's docstring and example in its schema."""

    def __init__(self, *, strict: bool, needs_keys: bool) -> None:
        """Serve the document as plain JSON, which browsers show."""
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)
        self._strict = strict
        self._needs_keys = needs_keys

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document in JSON."""
        whole = completed(openapi_schema, strict=self._strict, needs=needs_of(request.app), needs_keys=self._needs_keys)
        return self.render_json(request, whole)


class SwaggerPage(OpenAPIRenderPlugin):
    """Serves the page that shows the OpenAPI document with Swagger UI."""

    def __init__(self, title: str) -> None:
        """Prepare the page; `title` is shown in the browser's tab."""
        super().__init__(path="/")
        self._page = _PAGE.replace("{title}", title.replace("&", "&amp;").replace("<", "&lt;")).encode()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Return the page in HTML."""
        return self._page


@get("/static/{name:str}")
async def static_file(name: Annotated[str, PathParameter()]) -> Response[bytes]:
    """Return one of the files that the page needs. Raises NotFoundException for any other name."""
    if name not in _FILES:
        raise NotFoundException
    return Answer(_FILES[name], media_type=_MEDIA_TYPES[name], headers={"Cache-Control": "max-age=3600"})


def openapi_config(title: str, *, strict: bool, needs_keys: bool) -> OpenAPIConfig:
    """Return the configuration of the documentation, which is served at /docs.

    With `strict`, requests may have no other fields than the described ones; with `needs_keys` they need a key.
    """
    return OpenAPIConfig(
        title=title,
        version=VERSION,
        description=_DESCRIPTION.strip(),
        license=License(name="MIT", identifier="MIT"),
        use_handler_docstrings=True,
        operation_id_creator=lambda handler, _method, _path: handler.handler_name,
        tags=[
            Tag("users", "Accounts, their balances and statements."),
            Tag("payments", "Deposits and withdrawals."),
            Tag("dead letters", "Payments that need an operator."),
            Tag("keys", "The keys of the callers, for operators."),
            Tag("audit", "The log, its verification, and the trial balance."),
            Tag("health", "The health and the metrics of the service."),
            _DEMO_GATEWAY,
        ],
        openapi_router=Router(
            "/docs",
            route_handlers=[static_file],
            after_request=_without_foreign_page,
            include_in_schema=False,
            opt=allows("public"),
        ),
        render_plugins=[SwaggerPage(title), SchemaFile(strict=strict, needs_keys=needs_keys)],
    )


def completed(
    document: dict[str, Any],
    *,
    strict: bool = True,
    needs: Mapping[str, Need] = MappingProxyType({}),
    needs_keys: bool = False,
) -> dict[str, Any]:
    """Complete Litestar's document: add the docstring and example of each struct, keys, response headers, and links.

    `needs` has the scope of each operation, and `needs_keys` says that a request without a key is refused.
    """
    components = document["components"]
    described = _described()
    closed = {body.__name__: {"additionalProperties": False} for body in _structs(RequestBody)} if strict else {}
    schemas = {
        name: schema | described.get(name, {}) | closed.get(name, {}) for name, schema in components["schemas"].items()
    }
    paths = {
        path: {
            method: _operation(secured(operation, needs.get(operation["operationId"]), required=needs_keys))
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    described_parts = components | {"schemas": schemas, "securitySchemes": dict(SCHEMES)}
    whole = document | {"components": described_parts, "paths": paths}
    return cast("dict[str, Any]", _tidied(whole))


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    responses = {status: _response(status, response) for status, response in operation["responses"].items()}
    if _DEMO_GATEWAY.name in operation["tags"]:
        responses = {status: _also_of_gateway(status, response) for status, response in responses.items()}
        responses["default"] = {"description": "The demo gateway's answer, which may be an error."}
    for status, links in LINKS.get(operation["operationId"], {}).items():
        responses[status]["links"] = links
    parameters = [each | {"schema": _not_null(each["schema"])} for each in operation.get("parameters", [])]
    summary = re.split("[.:;]", operation["description"])[0]
    return operation | {"summary": summary, "responses": responses, "parameters": parameters}


def _response(status: str, response: dict[str, Any]) -> dict[str, Any]:
    headers = response.get("headers", {}) | {"X-Request-ID": _header("The id of the request.")}
    if status == str(HTTPStatus.SERVICE_UNAVAILABLE.value):
        headers["Retry-After"] = _header("The number of seconds to wait before the next try.")
    content = {media_type: _without_ids(media) for media_type, media in response.get("content", {}).items()}
    if any(_is_recorded(media) for media in content.values()):
        headers[REPLAYED] = _header("`true` on the answer to a replay.")
    return response | {"headers": headers, "content": content}


def _is_recorded(media: dict[str, Any]) -> bool:
    """Tell whether the answer is a refusal that was recorded as a payment; a replay gets such an answer too."""
    return any("payment_id" in example["value"] for example in media.get("examples", {}).values())


def _also_of_gateway(status: str, response: dict[str, Any]) -> dict[str, Any]:
    """Add the demo gateway's own error bodies to statuses that the service and the demo gateway both use."""
    if status not in _STATUSES_OF_GATEWAY:
        return response
    return response | {"content": response["content"] | {MediaType.JSON.value: {"schema": {"type": "object"}}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _without_ids(media: dict[str, Any]) -> dict[str, Any]:
    """Remove the name that Litestar repeats inside each example, where OpenAPI does not allow it."""
    if "examples" not in media:
        return media
    return media | {"examples": {name: {"value": each["value"]} for name, each in media["examples"].items()}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """Remove null from the schema of a parameter: it may be left out, but an address has no null."""
    null = {"type": "null"}
    schema = dict(schema)
    if null in schema.get("oneOf", []):
        (other,) = (each for each in schema.pop("oneOf") if each != null)
        schema = other | schema
    if "null" in schema.get("type", ""):
        (schema["type"],) = (each for each in schema["type"] if each != "null")
        schema["enum"] = [each for each in schema["enum"] if each is not None]
    return schema


def _tidied(value: object) -> object:
    """Write integral bounds as integers (Litestar writes 500 as 500.0), and replace a `oneOf` of one schema by it."""
    match value:
        case {"oneOf": [only], **others}:
            return _tidied(only | others)
        case dict():
            return {name: _tidied(each) for name, each in value.items()}
        case list():
            return [_tidied(each) for each in value]
        case float() if value.is_integer():
            return int(value)
        case _:
            return value


def _structs(root: type[Struct]) -> Iterator[type[Struct]]:
    for struct in root.__subclasses__():
        yield struct
        yield from _structs(struct)


def _described() -> dict[str, dict[str, Any]]:
    """Return the docstring and the example of each struct, by the struct's name."""
    return {
        struct.__name__: {"description": " ".join((struct.__doc__ or "").split()), "examples": [struct.EXAMPLE]}
        for struct in _structs(Struct)
        if hasattr(struct, "EXAMPLE")
    }


def _without_foreign_page(response: Response[Any]) -> Response[Any]:
    """Answer an unknown address below /docs with a problem document; Litestar would send its own page."""
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    return response
