"""Fields and parameters that a route does not know are refused, with the nearest known name, unless that is set off."""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import httpx
import msgspec
import pytest
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from api.input.bodies import RequestBody, decode, lenient
from api.input.parameters import known_parameters
from api.openapi.document import completed
from api.settings import Settings
from ledger.store.database import Database
from tests.support.databases import fresh_ledger, traces

pytestmark = pytest.mark.anyio

KEY: Final = "unknown field; send the key in the header `Idempotency-Key`"
DECISION: Final = {"why": "so", "by": "me"}
BODIES: Final[dict[str, dict[str, Any]]] = {
    "users": {"balance": 5},
    "payments/deposit": {"user_id": 1, "deposit": 5},
    "payments/withdraw": {"user_id": 1, "amount": 5},
    "payments/batch": {"payments": [{"type": "deposit", "user_id": 1, "amount": 5}]},
    "dlq/1/requeue": DECISION,
    "dlq/1/resolve": {"outcome": "success", **DECISION},
    "dlq/1/adjust": {"against": "suspense", **DECISION},
    "dlq/bulk/plan": {"action": "requeue"},
    "dlq/bulk/run": {"digest": "0" * 64, **DECISION},
    "approvals/4f1c8a02d7be9635/approve": {"by": "me"},
    "approvals/4f1c8a02d7be9635/reject": {"by": "me"},
    "gateway/pause": DECISION,
    "gateway/resume": DECISION,
    "keys": {"name": "n", "scopes": ["read"]},
    "keys/4f1c8a02d7be9635/rotate": {"keep_seconds": 5},
    "mock-gateway/pay": {"payment_id": 1, "user_id": 1, "amount": 5, "commission": 1, "type": "deposit"},
}
"""A body that each route accepts, by the address of the route."""


@pytest.fixture(scope="module")
def database(postgres_url: str) -> Iterator[Database]:
    """Yield one ledger for the whole file."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.fixture
def settings() -> Settings:
    """Return the settings of a service with a demo gateway, whose routes take bodies too."""
    return Settings.load({}, command="serve")


@pytest.fixture
async def strict(client: httpx.AsyncClient, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client, and check afterwards that its requests had no effect."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})
    before = traces(database)
    yield client
    assert traces(database) == before


def errors_of(answer: httpx.Response) -> list[tuple[str, str]]:
    """The errors of a refusal: path and message."""
    assert (answer.status_code, answer.json().get("code")) == (422, "request_invalid"), answer.text
    return [(each["path"], each["message"]) for each in answer.json()["errors"]]


# --- fields ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", BODIES)
async def test_no_body_may_have_an_unknown_field(strict: httpx.AsyncClient, path: str) -> None:
    """The answer names the field, and the known ones."""
    answer = await strict.post(f"/api/v1/{path}", json=BODIES[path] | {"zzzz": 1})

    ((place, message),) = errors_of(answer)
    assert place == "zzzz"
    assert message == "unknown field; known here: " + ", ".join(
        f"`{name}`" for name in body_of(strict, path).__struct_encode_fields__
    )


def body_of(client: httpx.AsyncClient, path: str) -> type[RequestBody]:
    """The type of a route's body."""
    transport: Any = client._transport
    (found,) = [handler for route, handler in takers(transport.app) if filled_in(route) == path]
    assert found.parsed_data_field is not None
    body: type[RequestBody] = found.parsed_data_field.annotation
    return body


def filled_in(path: str) -> str:
    """A route's path with values for its parameters."""
    ids = {"{payment_id:str}": "1"} | dict.fromkeys(("{key_id:str}", "{approval_id:str}"), "4f1c8a02d7be9635")
    return "/".join(ids.get(word, word) for word in path.split("/"))


def takers(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """The routes that take a body, with their handlers."""
    for route in app.routes:
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.parsed_data_field is not None:
                    yield route.path.removeprefix("/api/v1/"), handler


async def test_every_route_with_a_body_is_tried(app: Litestar) -> None:
    """Each body has the base that refuses unknown fields."""
    found = dict(takers(app))

    assert {filled_in(path) for path in found} == set(BODIES)
    for handler in found.values():
        assert handler.parsed_data_field is not None
        assert issubclass(handler.parsed_data_field.annotation, RequestBody)


@pytest.mark.parametrize(
    ("path", "body", "errors"),
    [
        ("payments/deposit", {"user_id": 1, "depositt": 5}, {"depositt": "did you mean `deposit`?"}),
        ("payments/deposit", {"user_id": 1, "amount": 5}, {"amount": "did you mean `deposit`?"}),
        ("payments/deposit", {"userId": 1, "deposit": 5}, {"userId": "did you mean `user_id`?"}),
        (
            "payments/deposit",
            {"user_id": 1, "deposit": 5, "currency": "EUR"},
            {"currency": "known here: `user_id`, `deposit`"},
        ),
        (
            "payments/deposit",
            {"USERID": 1, "Deposit": 5},
            {"USERID": "did you mean `user_id`?", "Deposit": "did you mean `deposit`?"},
        ),
        ("users", {"ballance": 5}, {"ballance": "did you mean `balance`?"}),
    ],
)
async def test_the_nearest_name_is_offered(
    strict: httpx.AsyncClient, path: str, body: Any, errors: dict[str, str]
) -> None:
    """It is one that the request lacks: one written like it, or the only one that is missing."""
    answer = await strict.post(f"/api/v1/{path}", json=body)

    assert errors_of(answer) == [(name, f"unknown field; {advice}") for name, advice in errors.items()]


@pytest.mark.parametrize("name", ["idempotency_key", "Idempotency-Key", "idempotencyKey"])
@pytest.mark.parametrize("path", [path for path in BODIES if path != "payments/batch"])
async def test_a_key_in_the_body_is_refused_with_its_place(strict: httpx.AsyncClient, path: str, name: str) -> None:
    """A client that sends it there would pay twice."""
    answer = await strict.post(f"/api/v1/{path}", json=BODIES[path] | {name: "k"})

    assert errors_of(answer) == [(name, KEY)]


async def test_a_key_of_a_whole_batch_belongs_to_its_payments(strict: httpx.AsyncClient) -> None:
    """The header would be refused too."""
    answer = await strict.post("/api/v1/payments/batch", json=BODIES["payments/batch"] | {"idempotency_key": "k"})

    assert errors_of(answer) == [("idempotency_key", "unknown field; give each payment its own")]


async def test_a_payment_of_a_batch_is_refused_alone(client: httpx.AsyncClient) -> None:
    """The others are accepted."""
    await client.post("/api/v1/users", json={"balance": 100}, headers={"Idempotency-Key": "the user"})
    good: dict[str, Any] = {"type": "deposit", "user_id": 1, "amount": 5}

    answer = await client.post("/api/v1/payments/batch", json={"payments": [good, good | {"currency": "EUR"}]})

    first, second = answer.json()["results"]
    assert first["status"] == "processing"
    assert second["code"] == "request_invalid"
    assert second["errors"][0]["path"] == "payments[1].currency"
    assert second["errors"][0]["message"].startswith("unknown field; known here: `type`")


@pytest.mark.parametrize(
    "name", ['"\\ud800"', '"\\u0000"', '"b`c"', '"x - at `$.y`"', '""', f'"{"n" * 100_000}"'], ids=lambda name: name[:9]
)
async def test_odd_names_are_refused_like_others(strict: httpx.AsyncClient, name: str) -> None:
    """A name is shown up to 100 characters."""
    body = f'{{"user_id": 1, "deposit": 5, {name}: 1}}'.encode()

    answer = await strict.post("/api/v1/payments/deposit", content=body)

    ((place, _),) = errors_of(answer)
    assert len(place) <= 100


async def test_many_unknown_fields_are_not_all_listed(strict: httpx.AsyncClient) -> None:
    """The answer stays short."""
    answer = await strict.post("/api/v1/payments/deposit", json={f"x{number}": 1 for number in range(50_000)})

    assert len(errors_of(answer)) == 10


# --- parameters ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "errors"),
    [
        ("payments?userid=3", {"userid": "did you mean `user_id`?"}),
        ("payments?user_id=1&userId=3", {"userId": "known here: `user_id`, `status`, `type`, `limit`, `cursor`"}),
        ("payments?kind=deposit", {"kind": "known here: `user_id`, `status`, `type`, `limit`, `cursor`"}),
        ("payments?Limit=3&curser=x", {"Limit": "did you mean `limit`?", "curser": "did you mean `cursor`?"}),
        ("users/1/statement?form=x", {"form": "did you mean `from`?"}),
        ("users/1?x", {"x": "none is known here"}),
        ("health?verbose=", {"verbose": "none is known here"}),
        ("payments?%00=1", {"\x00": "known here: `user_id`, `status`, `type`, `limit`, `cursor`"}),
    ],
)
async def test_an_unknown_parameter_is_refused(strict: httpx.AsyncClient, path: str, errors: dict[str, str]) -> None:
    """A list that ignored its filter would show everything."""
    answer = await strict.get(f"/api/v1/{path}")

    assert errors_of(answer) == [(name, f"unknown parameter; {advice}") for name, advice in errors.items()]


async def test_every_route_and_method_refuses_an_unknown_parameter(app: Litestar, strict: httpx.AsyncClient) -> None:
    """The documentation and the routes that take money are included. OPTIONS only lists methods."""
    routes = [
        (method, re.sub(r"\{\w+:\w+\}", "1", route.path))
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for method in route.methods - {"OPTIONS"}
    ]

    answers = {route: await strict.request(*route, params={"zzzz": "1"}) for route in routes}

    assert {route: answer.status_code for route, answer in answers.items() if answer.status_code != 422} == {}
    assert {answer.json()["errors"][0]["path"] for answer in answers.values()} == {"zzzz"}
    assert len(routes) > 25


async def test_the_known_parameters_are_the_documented_ones(app: Litestar) -> None:
    """A parameter that a route takes and the check does not know would be refused."""
    described = completed(app.openapi_schema.to_schema())["paths"]
    for route in app.routes:
        for handler in route.route_handlers if isinstance(route, HTTPRoute) else ():
            if handler.resolve_include_in_schema() and "OPTIONS" not in handler.http_methods:
                (method,) = handler.http_methods
                operation = described[route.path_format][method.lower()]
                names = {each["name"] for each in operation["parameters"] if each["in"] == "query"}
                assert set(known_parameters(handler)) == names, route.path


# --- switched off ----------------------------------------------------------------------------------------------------


class TestLenient:
    """`STRICT_INPUT` is off, so unknown names are ignored, as in the original."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Switch it off."""
        return Settings.load({"STRICT_INPUT": "false"})

    @pytest.fixture
    def database(self, postgres_url: str) -> Iterator[Database]:
        """Yield a ledger of its own."""
        with fresh_ledger(postgres_url) as database:
            yield database

    async def test_unknown_names_are_ignored(self, client: httpx.AsyncClient) -> None:
        """Those of the body, of a payment of a batch, and of the address."""
        odd = {"idempotency_key": "k", "zzzz": [1]}
        batch = {"payments": [{"type": "deposit", "user_id": 1, "amount": "5", "zzzz": 1}], "zzzz": 1}
        user = await client.post("/api/v1/users?zzzz=1", json={"balance": "100.00", **odd})
        deposit = await client.post("/api/v1/payments/deposit?zzzz=1", json={"user_id": "1", "deposit": 5, **odd})
        taken = await client.post("/api/v1/payments/batch", json=batch)
        page = await client.get("/api/v1/payments?userid=3")
        letter = await client.post("/api/v1/dlq/7/adjust", json={"against": "suspense", **DECISION, **odd})

        assert (user.status_code, user.json()["balance"]) == (201, 100)
        assert (deposit.status_code, deposit.json()["deposit"]) == (202, 5)
        assert [result["status"] for result in taken.json()["results"]] == ["processing"]
        assert page.status_code == 200
        assert letter.json()["code"] == "payment_not_found"

    async def test_the_documentation_allows_them(self, client: httpx.AsyncClient) -> None:
        """Only a strict service describes its bodies as closed."""
        schemas = (await client.get("/docs/openapi.json")).json()["components"]["schemas"]

        assert "additionalProperties" not in schemas["DepositRequest"]

    @pytest.mark.parametrize("body", RequestBody.__subclasses__())
    def test_a_body_is_of_the_same_type(self, body: type[RequestBody]) -> None:
        """The framework takes no other type for the handler's argument."""
        example: Any = getattr(body, "EXAMPLE")  # noqa: B009 - the base has none
        text = msgspec.json.encode({**example, "zzzz": 1})

        assert type(decode(text, body, strict=False)) is body
        assert lenient(body).__doc__ == body.__doc__


async def test_the_documentation_of_a_strict_service_has_no_other_fields(client: httpx.AsyncClient) -> None:
    """Programs that check requests against it find the same mistakes as the service."""
    schemas = (await client.get("/docs/openapi.json")).json()["components"]["schemas"]

    closed = {name for name, schema in schemas.items() if schema.get("additionalProperties") is False}
    assert closed == {body.__name__ for body in RequestBody.__subclasses__()}
