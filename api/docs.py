"""The documentation: OpenAPI made from the handlers, and Swagger UI from files of our own, so that it works offline.

Schemas come from the structs of the handlers; a struct's docstring describes it, and its `EXAMPLE` is the example that
requests and answers with it show.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from http import HTTPStatus
from importlib.resources import files
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

from api.answers import REPLAYED, Answer
from api.links import LINKS
from ledger.money import AMOUNT_CHARACTERS_MAX
from ledger.version import VERSION

if TYPE_CHECKING:
    from litestar._openapi.schema_generation import SchemaCreator


_STATIC: Final = files("api").joinpath("static")
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
_DEMO_GATEWAY: Final = Tag("demo gateway", "A gateway to try things out with, while no real one is set.")

_DESCRIPTION: Final = """
Deposits and withdrawals, accepted at once and settled exactly once through a gateway that may err.

* **Amounts** come as JSON numbers or as strings such as `"12.50"`, and leave as exact JSON numbers.
* **`Idempotency-Key`** makes a request safe to repeat: the first answer is given again, with `Idempotent-Replayed`.
* **Errors** are problem documents (RFC 9457) with a stable `code` and a `detail` that says what to do.
* **Lists** come in pages; `next_cursor` of one is the `cursor` of the next.
* Every answer has an `X-Request-ID`, the client's own where it sent one.
"""


class EdgeSchemas(OpenAPISchemaPlugin):
    """Describes what the edge reads and writes in its own way: amounts, and structs that have a `SHAPE`."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Tell whether the type is one of these."""
        annotation = field_definition.annotation
        return annotation is Raw or annotation is Decimal or hasattr(annotation, "SHAPE")

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: "SchemaCreator") -> Schema:
        """Describe the type."""
        if shape := getattr(field_definition.annotation, "SHAPE", None):
            fields = {name: FieldDefinition.from_annotation(annotation) for name, annotation in shape.items()}
            return schema_creator.create_component_schema(
                field_definition, required=list(fields), property_fields=fields
            )
        if field_definition.annotation is Decimal:
            return Schema(type=OpenAPIType.NUMBER, description="An exact decimal, with all the currency's decimals.")
        if getattr(field_definition.kwarg_definition, "gt", None) == 0:
            number = Schema(type=OpenAPIType.NUMBER, exclusive_minimum=0)
            text = Schema(type=OpenAPIType.STRING, pattern=_DIGITS_ABOVE_ZERO, max_length=AMOUNT_CHARACTERS_MAX)
        else:
            number = Schema(type=OpenAPIType.NUMBER, minimum=0)
            text = Schema(type=OpenAPIType.STRING, pattern=_DIGITS, max_length=AMOUNT_CHARACTERS_MAX)
        return Schema(one_of=[number, text], description="An amount, no finer than its currency.")


class SchemaFile(JsonRenderPlugin):
    """Serves the OpenAPI document, with each struct's docstring and example in its schema."""

    def __init__(self) -> None:
        """Serve it as plain JSON, which browsers show."""
        super().__init__(path="/openapi.json", media_type=MediaType.JSON)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Give the document."""
        return self.render_json(request, completed(openapi_schema))


class SwaggerPage(OpenAPIRenderPlugin):
    """Serves the page that shows the OpenAPI document with Swagger UI."""

    def __init__(self, title: str) -> None:
        """Show `title` in the browser's tab."""
        super().__init__(path="/")
        self._page = _PAGE.replace("{title}", title.replace("&", "&amp;").replace("<", "&lt;")).encode()

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:  # noqa: ARG002
        """Give the page."""
        return self._page


@get("/static/{name:str}")
async def static_file(name: Annotated[str, PathParameter()]) -> Response[bytes]:
    """Give one of the files that the page needs."""
    if name not in _FILES:
        raise NotFoundException
    return Answer(_FILES[name], media_type=_MEDIA_TYPES[name], headers={"Cache-Control": "max-age=3600"})


def openapi_config(title: str) -> OpenAPIConfig:
    """Configure the documentation, to be served at /docs."""
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
            Tag("dead letters", "Payments that an operator has to look at."),
            Tag("audit", "The log, the proof, the books."),
            Tag("health", "Whether and how the service runs."),
            _DEMO_GATEWAY,
        ],
        openapi_router=Router(
            "/docs", route_handlers=[static_file], after_request=_without_foreign_page, include_in_schema=False
        ),
        render_plugins=[SwaggerPage(title), SchemaFile()],
    )


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Complete the document that Litestar makes: with each struct's docstring and example, and what it cannot say."""
    components = document["components"]
    described = _described()
    schemas = {name: schema | described.get(name, {}) for name, schema in components["schemas"].items()}
    paths = {
        path: {method: _operation(operation) for method, operation in item.items()}
        for path, item in document["paths"].items()
    }
    whole = document | {"components": components | {"schemas": schemas}, "paths": paths}
    return cast("dict[str, Any]", _tidied(whole))


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    responses = {status: _response(status, response) for status, response in operation["responses"].items()}
    if _DEMO_GATEWAY.name in operation["tags"]:
        responses = {status: _also_of_gateway(status, response) for status, response in responses.items()}
        responses["default"] = {"description": "What the demo gateway answers, its errors included."}
    for status, links in LINKS.get(operation["operationId"], {}).items():
        responses[status]["links"] = links
    parameters = [each | {"schema": _not_null(each["schema"])} for each in operation.get("parameters", [])]
    summary = re.split("[.:;]", operation["description"])[0]
    return operation | {"summary": summary, "responses": responses, "parameters": parameters}


def _response(status: str, response: dict[str, Any]) -> dict[str, Any]:
    headers = response.get("headers", {}) | {"X-Request-ID": _header("The id of the request.")}
    if status == str(HTTPStatus.SERVICE_UNAVAILABLE.value):
        headers["Retry-After"] = _header("After how many seconds to try again.")
    content = {media_type: _without_ids(media) for media_type, media in response.get("content", {}).items()}
    if any(_is_recorded(media) for media in content.values()):
        headers[REPLAYED] = _header("`true` on the answer to a replay.")
    return response | {"headers": headers, "content": content}


def _is_recorded(media: dict[str, Any]) -> bool:
    """A refusal that was recorded as a payment is the answer to a replay as well."""
    return any("payment_id" in example["value"] for example in media.get("examples", {}).values())


def _also_of_gateway(status: str, response: dict[str, Any]) -> dict[str, Any]:
    """The demo gateway refuses and errs in its own words, with statuses that are ours too."""
    if status not in _STATUSES_OF_GATEWAY:
        return response
    return response | {"content": response["content"] | {MediaType.JSON.value: {"schema": {"type": "object"}}}}


def _header(description: str) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string"}}


def _without_ids(media: dict[str, Any]) -> dict[str, Any]:
    """Litestar repeats an example's name inside of it, where OpenAPI has no place for one."""
    if "examples" not in media:
        return media
    return media | {"examples": {name: {"value": each["value"]} for name, each in media["examples"].items()}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A parameter that may be left out is not one that may be null: an address has no null."""
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
    """Litestar writes all bounds as floats, and 500.0 looks odd where 500 is meant; so does a choice of one."""
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
    """What the structs say of themselves, by name."""
    return {
        struct.__name__: {"description": " ".join((struct.__doc__ or "").split()), "examples": [struct.EXAMPLE]}
        for struct in _structs(Struct)
        if hasattr(struct, "EXAMPLE")
    }


def _without_foreign_page(response: Response[Any]) -> Response[Any]:
    """Refuse an unknown address below /docs as any other; Litestar would answer it with a page of its own."""
    if response.status_code == NotFoundException.status_code:
        raise NotFoundException
    return response
