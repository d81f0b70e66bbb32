"""Messages about wrong values are in the words of HTTP and JSON, and never in those of Python or msgspec."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import httpx
import msgspec
import pytest
from msgspec import Meta, Struct

from api.input.messages import GENERAL, plain, values_of

pytestmark = pytest.mark.anyio

FOREIGN: Final = re.compile(r"`?\b(?:int|str|bool|None|Struct|msgspec|regex|Object)\b")
"""Words of Python and msgspec."""


class Shape(Struct):
    """A field of each kind that a request may have."""

    whole: Annotated[int, Meta(ge=1, le=10)] = 1
    bounded: Annotated[float, Meta(gt=0, lt=2)] = 1
    text: Annotated[str, Meta(min_length=2, max_length=3, pattern="[a-z]")] | None = None
    items: Annotated[list[int], Meta(min_length=1, max_length=2)] = msgspec.field(default_factory=lambda: [1])
    exact: Annotated[str, Meta(min_length=4, max_length=4)] = "four"
    choice: Literal["deposit", "withdraw"] = "deposit"
    flag: bool = False


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"whole": "one"}, "expected an integer, got a string"),
        ({"whole": 1.5}, "expected an integer, got a number that is not an integer"),
        ({"whole": None}, "expected an integer, got null"),
        ({"whole": [1]}, "expected an integer, got an array"),
        ({"whole": {}}, "expected an integer, got an object"),
        ({"whole": True}, "expected an integer, got a boolean"),
        ({"whole": 0}, "must be at least 1"),
        ({"whole": 11}, "must be at most 10"),
        ({"bounded": 0.0}, "must be more than 0"),
        ({"bounded": 2.0}, "must be less than 2"),
        ({"text": 3}, "expected a string or null, got an integer"),
        ({"text": "a"}, "must have at least 2 characters"),
        ({"text": "abcd"}, "must have at most 3 characters"),
        ({"text": "123"}, "must be a text that is not blank and contains no NUL"),
        ({"items": []}, "must have at least 1 item"),
        ({"items": [1, 2, 3]}, "must have at most 2 items"),
        ({"choice": "cash"}, "must be one of `deposit`, `withdraw`"),
        ({"choice": 3}, "expected a string, got an integer"),
        ({"flag": 3}, "expected true or false, got an integer"),
        ([], "expected an object, got an array"),
    ],
)
def test_a_wrong_value_is_described_in_the_words_of_json(body: Any, message: str) -> None:
    """Each kind of msgspec's sentences is met, as msgspec itself writes it."""
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(body), type=Shape)
    sentence = str(caught.value).partition(" - at `$")[0]

    assert plain(sentence, values=["deposit", "withdraw"]) == message
    assert not FOREIGN.search(message)


def test_a_sentence_that_is_not_known_becomes_a_general_one() -> None:
    """A newer msgspec may write other ones."""
    assert plain("Expected `Struct` with tag 3") == GENERAL


@pytest.mark.parametrize(
    ("annotation", "values"),
    [
        (Literal["a", "b"], ["a", "b"]),
        (Literal["a"] | None, ["a"]),
        (Annotated[Literal["a", "b"] | None, Meta(description="x")], ["a", "b"]),
        (int, []),
        (None, []),
    ],
)
def test_the_values_of_a_field_are_found_in_its_type(annotation: Any, values: Sequence[str]) -> None:
    """They are listed in the message."""
    assert list(values_of(annotation)) == values


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("payments?user_id=abc", ("user_id", "expected an integer")),
        ("payments?user_id=0", ("user_id", "must be at least 1")),
        ("payments?limit=501", ("limit", "must be at most 500")),
        ("payments?limit=1e400", ("limit", "is a number out of range")),
        ("payments?type=cash", ("type", "must be one of `deposit`, `withdraw`")),
        ("payments?status=q", ("status", "must be one of `new`, `processing`, `success`, `failed`")),
        ("users/x", ("user_id", "expected an integer")),
    ],
)
async def test_a_wrong_parameter_is_described_too(client: httpx.AsyncClient, path: str, error: tuple[str, str]) -> None:
    """A value in an address is always text, so the message does not name its type."""
    answer = await client.get(f"/api/v1/{path}")

    assert answer.status_code == 422
    assert [(each["path"], each["message"]) for each in answer.json()["errors"]] == [error]


async def test_the_detail_has_the_messages_too(client: httpx.AsyncClient) -> None:
    """A person who reads only the detail knows what to change."""
    answer = await client.post("/api/v1/payments/deposit", json={"user_id": "one", "deposit": 5})

    assert answer.json()["detail"].endswith(": user_id: expected an integer, got a string.")
