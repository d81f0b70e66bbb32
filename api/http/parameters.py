"""Types of parameters and fields that several routes have, with what the documentation says of them.

They stand apart from the functions that read and write such values, so that the command line, which uses those, loads
no web framework.
"""

from typing import Annotated, Any

from litestar.params import KwargDefinition, QueryParameter
from msgspec import Raw

from api.http.cursors import CURSOR_CHARACTERS_MAX, LIMIT_MAX, OFFSET_MAX, cursor_characters_max

Amount = Annotated[Raw, KwargDefinition(ge=0)]
"""An amount in a request, as the client wrote it: zero or more."""

AmountAboveZero = Annotated[Raw, KwargDefinition(gt=0)]
"""An amount in a request, as the client wrote it: more than zero."""

Limit = Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX, description="How many items a page has at most.")]

Offset = Annotated[int, QueryParameter(ge=0, le=OFFSET_MAX, description="How many items to skip.")]


def _cursor(characters_max: int) -> KwargDefinition:
    return QueryParameter(
        max_length=characters_max,
        schema_extra={"pattern": "^[A-Za-z0-9_-]+$"},  # for the documentation; `read_cursor` refuses other texts
        description="`next_cursor` of the previous page; without it, the first page.",
    )


Cursor = Annotated[str | None, _cursor(CURSOR_CHARACTERS_MAX)]

ListCursor = Cursor
"""The cursor of a list over all users. An application over many partitions has another type in its place."""


def list_cursor(partitions: int) -> Any:  # noqa: ANN401 - a type
    """Return the type of `ListCursor` in an application over so many partitions."""
    return Annotated[str | None, _cursor(cursor_characters_max(partitions))]


def partition_number(partitions: int) -> Any:  # noqa: ANN401 - a type
    """Return the type of `PartitionNumber` in an application over so many partitions."""
    bounds = {"minimum": 0, "maximum": partitions - 1}
    return Annotated[
        int | None,
        QueryParameter(
            ge=0,
            le=partitions - 1,
            description="The partition whose log it is. Needed where the ledger has several.",
            schema_extra=bounds,  # Litestar leaves a bound of 0 out of the documentation, because 0 is falsy
        ),
    ]


PartitionNumber = int | None
"""The number of a partition. An application has a type with the bound of its ledger in its place."""
