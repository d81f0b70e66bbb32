"""The request class of all handlers: it has the application context, an id, and a strictly decoded body."""

import re
from typing import Annotated, Any, Final

from litestar import Request
from litestar.connection.base import empty_receive, empty_send
from litestar.datastructures import State
from litestar.openapi.spec.enums import OpenAPIType
from litestar.params import HeaderParameter, PathParameter, QueryParameter
from litestar.types import Empty, Receive, Scope, Send
from msgspec import Meta

from api.auth.access import caller_of, refuse_other_users
from api.auth.key_ring import LiveKey
from api.context import AppContext
from api.errors import IdempotencyKeyInvalid, MediaTypeUnsupported, RequestInvalid, RequestMalformed
from api.http.idempotency_keys import IDEMPOTENCY_KEY_PATTERN
from api.http.request_body import read_body
from api.http.request_ids import request_id
from api.input.bodies import decode
from api.input.header_fields import fields_of, values_of
from api.input.trace_context import HEADER as TRACE_HEADER
from api.input.trace_context import trace_context
from api.operator.decision_text import TEXT_CHARACTERS_MAX, TEXT_PATTERN
from ledger.domain.identifiers import ID_MAX

_ALSO_AS_TEXT: Final[dict[str, Any]] = {
    "type": [OpenAPIType.INTEGER, OpenAPIType.STRING],
    "pattern": r"^(?:[1-9][0-9]{0,14}|[1-8][0-9]{15})(?:\.0+)?$",  # a short pattern; leaves out ids from 9 * 10^15 on
}

Identifier = Annotated[int, Meta(ge=1, le=ID_MAX, extra_json_schema={"extra": _ALSO_AS_TEXT})]
"""A user's or payment's id in a body: a whole number, or a string of one; zeros after a decimal point are allowed."""

Text = Annotated[str, Meta(min_length=1, max_length=TEXT_CHARACTERS_MAX, pattern=TEXT_PATTERN)]
"""A text that is recorded with an operator's decision. msgspec itself refuses half a surrogate pair."""

UserId = Annotated[int, PathParameter(ge=1, le=ID_MAX, description="The user's id.")]
PaymentId = Annotated[
    int, PathParameter(ge=1, le=ID_MAX, description="The payment's id.", schema_extra={"examples": [1]})
]
Position = Annotated[
    int | None,
    QueryParameter(
        ge=0,
        le=ID_MAX,
        description="A position of the log.",
        schema_extra={"minimum": 0},  # Litestar leaves a bound of 0 out of the documentation, because 0 is falsy
    ),
]

IdempotencyKeyHeader = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Makes it safe to send the request again: the first answer is sent again. 1 to 255 printable ASCII "
        "characters, with or without quotes around them. A key never expires. It belongs to the user who pays, to the "
        "payment that is decided about, or to the caller who opens a user.",
        # For the documentation only: `idempotency_key` refuses a key that does not match.
        schema_extra={"pattern": IDEMPOTENCY_KEY_PATTERN, "examples": ["order-77"]},
    ),
]

_JSON_TYPE: Final = re.compile(r"application/json\s*(?:;\s*charset\s*=\s*\"?utf-?8\"?\s*)?;?\s*", re.IGNORECASE)


class LedgerRequest(Request[Any, Any, State]):
    """A request to this application; `context` has its writer, its queries and its settings."""

    def __init__(self, scope: Scope, receive: Receive = empty_receive, send: Send = empty_send) -> None:
        """Make a request from what the server gives."""
        super().__init__(scope, receive, send)
        self.context: AppContext = scope["litestar_app"].state["context"]

    @property
    def id(self) -> str:
        """The request's id."""
        return request_id(self.scope)

    @property
    def caller(self) -> LiveKey | None:
        """The key with which the request came, None without one."""
        return caller_of(self.scope)

    @property
    def by(self) -> str | None:
        """The sender of the request's commands, if it was proved."""
        return None if (caller := self.caller) is None else caller.by

    def signed(self, name: str) -> dict[str, str | None]:
        """Give the sender of a decision, and the name that the operator gave beside it. Without a key only the name."""
        by = self.by
        return {"by": name} if by is None else {"by": by, "operator": name}

    def refuse_other_users(self, user_id: int) -> None:
        """Refuse a user to whom the request's key is not bound. Raises KeyBoundElsewhere."""
        refuse_other_users(self.caller, user_id)

    async def take_payments(self, payments: int) -> None:
        """Count the payments of a batch against the caller's rate. Raises TooManyPayments, RequestInvalid."""
        if (rates := self.context.rates) is not None and (counting := rates.take_payments(self, payments)) is not None:
            await counting

    def field(self, name: bytes) -> str | None:
        """Return the first header field of a name in lower case. Unlike `headers`, this decodes no other field."""
        value = fields_of(self.scope).get(name)
        return None if value is None else value.decode("latin-1")

    @property
    def trace_context(self) -> str | None:
        """The W3C trace context that the client sent, if it is valid."""
        values = values_of(self.scope, TRACE_HEADER)
        return trace_context(values) if values else None

    async def body(self) -> bytes:
        """Return the body. Its Content-Type must be JSON or missing. Raises RequestError."""
        if self._body is Empty:
            content_type = self.field(b"content-type") or ""
            if content_type not in {"", "application/json"} and not _JSON_TYPE.fullmatch(content_type):
                raise MediaTypeUnsupported
            body = await read_body(self.receive, self.scope["headers"], self.context.body_deadline)
            if not body:
                raise RequestMalformed(why="the body is empty; it must be a JSON object")
            self._body = self._connection_state.body = body
        assert isinstance(self._body, bytes), self._body
        return self._body

    async def json(self) -> Any:  # noqa: ANN401 - the handler's annotation gives the type
        """Decode the body into the type that the handler asks for. Raises RequestError."""
        field = self.route_handler.parsed_data_field
        assert field is not None, self.route_handler
        return decode(await self.body(), field.annotation, strict=self.context.settings.strict_input)


def refuse_null(request: Request[Any, Any, Any]) -> None:
    """Refuse the text `null`, in upper or lower case, for a parameter in the address. Raises RequestInvalid.

    msgspec would read it as a missing parameter, and a list without its filter shows items that the client excluded.
    """
    if request.scope["query_string"]:
        for name, value in request.query_params.multi_items():
            if value.lower() == "null":
                raise RequestInvalid.at(name, "cannot be null; leave it out")


def refuse_two_keys(request: Request[Any, Any, Any]) -> None:
    """Refuse a request with more than one idempotency key. Raises IdempotencyKeyInvalid.

    If one of them counted, a client that sends the request again with only the other would pay twice.
    """
    if len(values_of(request.scope, b"idempotency-key")) > 1:
        raise IdempotencyKeyInvalid
