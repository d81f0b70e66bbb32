"""Requests as handlers see them: with the application's parts, an id, and a body that is read strictly.

A body is JSON in UTF-8, read straight into the struct that the handler asks for, so that no amount in it ever becomes a
float on the way. Ids may come as strings or floats of integral value; fields that nobody asked for are ignored.
"""

import json
import re
from functools import cache
from typing import Annotated, Any, Final, NoReturn

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.types import Empty
from msgspec import Meta

from api.bodies import read_body
from api.errors import FieldError, IdempotencyKeyInvalid, MediaTypeUnsupported, RequestInvalid, RequestMalformed
from api.parts import Parts
from api.request_ids import request_id
from ledger.identifiers import ID_MAX

_ALSO_AS_TEXT: Final[dict[str, Any]] = {
    "type": [OpenAPIType.INTEGER, OpenAPIType.STRING],
    "pattern": r"^(?:[1-9][0-9]{0,14}|[1-8][0-9]{15})(?:\.0+)?$",  # brief, and short of ID_MAX only where nobody counts
}

Identifier = Annotated[int, Meta(ge=1, le=ID_MAX, extra_json_schema={"extra": _ALSO_AS_TEXT})]
"""A user's or payment's id in a body: a whole number, also as a string, also with zeros behind its point."""

_BLANK: Final = r"\u0000-\u0020\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"

Text = Annotated[str, Meta(min_length=1, max_length=500, pattern=rf"^[^\u0000]*[^{_BLANK}][^\u0000]*$")]
r"""Words that are kept with a decision: not blank, and without NUL, which Postgres cannot keep.

What is blank is spelled out, because readers of the documentation do not agree on what \s is.
"""

UserId = Annotated[int, PathParameter(ge=1, le=ID_MAX, description="The user's id.")]
PaymentId = Annotated[int, PathParameter(ge=1, le=ID_MAX, description="The payment's id.")]
Position = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=ID_MAX,
        description="A position of the log.",
        schema_extra={"minimum": 0},  # which the documentation would leave out, because it is false
    ),
]

_KEY_CHARACTERS: Final = "[!-~](?:[ -~]{0,253}[!-~])?"
IDEMPOTENCY_KEY_PATTERN: Final = (
    rf'^(?:"{_KEY_CHARACTERS}"|[!#-~](?:[ -~]{{0,253}}[!-~])?|"(?:[ -~]{{0,253}}[!#-~])?)?$'
)
"""A key in quotes, a key without them, one that only begins with a quote, or none, for the documentation."""

IdempotencyKeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Makes sending the request again safe: the first answer is given again. 1 to 255 printable ASCII "
        "characters, with or without quotes around them; they belong to the user and never expire.",
        # Only described here: a key that does not fit has a refusal of its own.
        schema_extra={"pattern": IDEMPOTENCY_KEY_PATTERN},
    ),
]

_IDEMPOTENCY_KEY: Final = re.compile(_KEY_CHARACTERS)
_JSON_TYPE: Final = re.compile(r"application/json\s*(?:;\s*charset\s*=\s*\"?utf-8\"?\s*)?;?\s*", re.IGNORECASE)
_MISSING: Final = re.compile(r"missing required field `(?P<name>[^`]+)`")


class LedgerRequest(Request[Any, Any, State]):
    """A request to this application."""

    @property
    def parts(self) -> Parts:
        """What handlers work with."""
        parts: Parts = self.app.state["parts"]
        return parts

    @property
    def id(self) -> str:
        """The request's id."""
        return request_id(self.scope)

    async def body(self) -> bytes:
        """Give the body, which has to be JSON by its Content-Type, or have none. Raises RequestError."""
        if self._body is Empty:
            content_type = self.headers.get("content-type", "")
            if content_type and not _JSON_TYPE.fullmatch(content_type):
                raise MediaTypeUnsupported(content_type=content_type[:100])
            body = await read_body(self.receive, self.headers, self.parts.body_time)
            if not body:
                raise RequestMalformed(why="the body is empty, and has to be a JSON object")
            self._body = self._connection_state.body = body
        assert isinstance(self._body, bytes), self._body
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - it is what the handler asks for
        """Read the body as what the handler asks for. Raises RequestError."""
        field = self.route_handler.parsed_data_field
        assert field is not None, self.route_handler
        return decode(await self.body(), field.annotation)


async def refuse_ambiguous(request: Request[Any, Any, Any]) -> None:
    """Refuse what two readers could understand differently, whatever the route.

    It runs before each handler. A guard would do as well, but costs a copy of the handler for each request. Raises
    RequestInvalid, IdempotencyKeyInvalid.
    """
    _refuse_null(request)
    _refuse_two_keys(request)


def _refuse_null(request: Request[Any, Any, Any]) -> None:
    """Refuse the word `null` for a parameter in the address, which msgspec would take for one that was left out.

    It does so however the word is spelled, and a list for which a filter is left out shows what was not asked for.
    Raises RequestInvalid.
    """
    if request.scope["query_string"]:
        for name, value in request.query_params.multi_items():
            if value.lower() == "null":
                raise RequestInvalid.at(name, "cannot be null; leave it out")


def _refuse_two_keys(request: Request[Any, Any, Any]) -> None:
    """Refuse a request with more than one idempotency key: whichever counted, sending the other again would pay twice.

    Raises IdempotencyKeyInvalid.
    """
    if sum(name == b"idempotency-key" for name, _ in request.scope["headers"]) > 1:
        raise IdempotencyKeyInvalid


def decode(body: bytes, wanted: Any) -> Any:  # noqa: ANN401 - the type is given at run time
    """Decode JSON into a type. Raises RequestMalformed for what is no JSON, RequestInvalid for another shape."""
    try:
        body.decode()  # msgspec does not look into strings that nobody asked for
        return _decoder(wanted).decode(body)
    except UnicodeDecodeError:
        raise RequestMalformed(why="the body is not in UTF-8") from None
    except RecursionError:
        raise RequestMalformed(why="the body is nested too deeply") from None
    except msgspec.ValidationError as error:
        raise _invalid(error) from None
    except msgspec.DecodeError as error:
        _refuse_malformed(body, error)


def idempotency_key(text: str | None) -> str | None:
    """Read an idempotency key; an empty one is none. Raises IdempotencyKeyInvalid."""
    if not text:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    key = text[1:-1] if quoted else text
    if not _IDEMPOTENCY_KEY.fullmatch(key):
        raise IdempotencyKeyInvalid
    return key


@cache
def _decoder(wanted: Any) -> msgspec.json.Decoder[Any]:  # noqa: ANN401 - the type is given at run time
    return msgspec.json.Decoder(wanted, strict=False)


def _invalid(error: msgspec.ValidationError) -> RequestInvalid:
    """Turn msgspec's sentence, such as "Expected `int`, got `str` - at `$.user_id`", into place and message."""
    message, _, place = str(error).partition(" - at `$")
    path = place.strip("`").removeprefix(".")
    if "matching regex" in message:
        return RequestInvalid.at(path, "has to be a text that is not blank and has no NUL in it")
    missing = _MISSING.search(message)
    if missing is not None:
        return RequestInvalid.at(f"{path}.{missing['name']}".lstrip("."), "is missing")
    return RequestInvalid.at(path, message)


def _refuse_malformed(body: bytes, error: msgspec.DecodeError) -> NoReturn:
    r"""Tell a body that is no JSON from one that is, but has half a surrogate pair (`"\ud800"`) in a text of it."""
    try:
        json.loads(body.decode(), parse_constant=_no_number, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise RequestMalformed(why=str(error)) from None
    raise RequestInvalid(errors=(FieldError("", "a text has half a surrogate pair in it"),)) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
