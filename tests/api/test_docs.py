"""The documentation: every route, every status it can answer, an example of everything, and nothing from elsewhere."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import httpx
import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar import Litestar
from litestar.routes import HTTPRoute

from api.app import create_app
from api.dead_letters import RequeueRequest
from api.docs import completed
from api.errors import IdempotencyKeyInvalid, RequestInvalid
from api.payments import DepositRequest
from api.requests import IDEMPOTENCY_KEY_PATTERN, decode, idempotency_key
from ledger.database import Database
from ledger.money import amount_from_text
from ledger.settings import Settings

pytestmark = pytest.mark.anyio

METHODS = {"get", "post"}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    """Give the OpenAPI document."""
    return (await client.get("/docs/openapi.json")).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Give path, method and description of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


async def test_every_route_is_described(app: Litestar, document: Any) -> None:
    """Those of the documentation itself need no description."""
    routes = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in app.routes
        if isinstance(route, HTTPRoute) and not route.path.startswith("/docs")
        for method in route.methods
        if method != "OPTIONS"
    }

    assert {(path, method) for path, method, _ in operations(document)} == routes


async def test_the_document_says_what_it_is_about(document: Any) -> None:
    """The title is a setting, the version that of the package."""
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == Settings.load({}).app_name
    assert document["info"]["version"] == version("payment-ledger")


async def test_every_problem_is_described_with_an_example(document: Any) -> None:
    """What every route can answer stands at every route."""
    for path, method, operation in operations(document):
        problems = {int(status) for status in operation["responses"] if status.isdigit() and int(status) >= 400}
        body = {413, 415, 422} if "requestBody" in operation else set()

        assert {400, 500, 503} | body <= problems, (path, method)
        for status in problems:
            response = operation["responses"][str(status)]
            media = response["content"]["application/problem+json"]
            assert media["schema"] == {"$ref": "#/components/schemas/ProblemDocument"}
            for example in media["examples"].values():
                assert example["value"]["status"] == status
                assert "{" not in example["value"]["detail"]
            assert ("Retry-After" in response["headers"]) == (status == HTTPStatus.SERVICE_UNAVAILABLE)


@pytest.mark.parametrize(
    ("path", "method", "statuses"),
    [
        ("/api/v1/users", "post", {201, 400, 413, 415, 422, 500, 503}),
        ("/api/v1/payments/deposit", "post", {202, 400, 404, 413, 415, 422, 500, 503}),
        ("/api/v1/payments/batch", "post", {200, 400, 413, 415, 422, 500, 503}),
        ("/api/v1/payments/{payment_id}", "get", {200, 400, 404, 422, 500, 503}),
        ("/api/v1/dlq/{payment_id}/resolve", "post", {202, 400, 404, 409, 413, 415, 422, 500, 503}),
        ("/readyz", "get", {200, 400, 500, 503}),
    ],
)
async def test_a_routes_statuses_are_all_there(
    document: Any,
    path: str,
    method: str,
    statuses: set[int],
) -> None:
    """And no others."""
    assert {int(status) for status in document["paths"][path][method]["responses"]} == statuses


async def test_every_request_and_answer_has_an_example(document: Any) -> None:
    """It stands in the schema that it uses."""
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(document):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer["content"] for status, answer in operation["responses"].items() if status.startswith("2")]
        for schema in (media["schema"] for content in contents for media in content.values()):
            whole = schema.get("items", schema)
            if "$ref" in whole:
                assert schemas[whole["$ref"].rpartition("/")[2]]["examples"], (path, method)


async def test_examples_fit_their_schemas(document: Any) -> None:
    """Every field that is required is there, and no field is one that nobody knows."""
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            assert set(schema["required"]) <= set(example), name
            assert set(example) <= set(schema["properties"]), name


async def test_every_reference_leads_somewhere(document: Any) -> None:
    """And every component is used or is a part of one."""
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))

    assert references == set(document["components"]["schemas"])


async def test_every_operation_says_in_a_few_words_what_it_does(document: Any) -> None:
    """In the list of all, where its name alone would say little."""
    for _, _, operation in operations(document):
        assert operation["description"].startswith(operation["summary"])
        assert 2 <= len(operation["summary"].split()) <= 20


async def test_what_an_example_lists_is_what_it_says(document: Any) -> None:
    """A refusal names the place of what is wrong."""
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for media in answer.get("content", {}).values():
                example = media.get("examples", {}).get("request_invalid", {}).get("value")
                assert example is None or example["errors"][0]["path"] in example["detail"]


async def test_operation_ids_are_unique(document: Any) -> None:
    """Programs that are made from the document name their functions so."""
    ids = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(ids) == len(set(ids))


async def test_the_document_has_no_odd_forms(document: Any) -> None:
    """Parameters are never null, and whole bounds are written whole."""
    for _, _, operation in operations(document):
        for parameter in operation["parameters"]:
            assert "null" not in json.dumps(parameter["schema"])
            assert not re.search(r"\d\.0\b", json.dumps(parameter["schema"]))


async def test_links_lead_to_what_there_is(document: Any) -> None:
    """To an operation, by a parameter or a body that it has, with a value that the answer has."""
    by_id = {operation["operationId"]: operation for _, _, operation in operations(document)}
    links = [
        (answer, link)
        for operation in by_id.values()
        for answer in operation["responses"].values()
        for link in answer.get("links", {}).values()
    ]

    assert len(links) > 15
    for answer, link in links:
        target = by_id[link["operationId"]]
        names = {parameter["name"] for parameter in target["parameters"] if parameter["in"] == "path"}
        assert set(link.get("parameters", {})) == names
        assert ("requestBody" in link) == (link["operationId"] in {"deposit", "withdraw", "take_batch"})
        (media,) = answer["content"].values()
        schema = media["schema"].get("items", media["schema"])
        fields = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        for field in re.findall(r"\$response\.body#/(?:0/)?(\w+)", json.dumps(link)):
            assert field in fields


async def test_what_is_recorded_says_so(document: Any) -> None:
    """Too little money for a withdrawal is answered with a payment, and again to a replay; elsewhere it is not."""
    refused = {
        operation["operationId"]: answer
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        if "insufficient_funds" in json.dumps(answer.get("content", {}))
    }

    assert set(refused) == {"withdraw", "requeue", "resolve"}
    for name, answer in refused.items():
        example = answer["content"]["application/problem+json"]["examples"]["insufficient_funds"]["value"]
        assert ("payment_id" in example) == ("request_id" not in example) == (name == "withdraw")
        assert ("Idempotent-Replayed" in answer["headers"]) == (name == "withdraw")


@given(st.text(st.sampled_from('"a ~!é\t\n'), max_size=8) | st.from_regex(IDEMPOTENCY_KEY_PATTERN, fullmatch=True))
@hypothesis.example('"' + "k" * 255 + '"')
@hypothesis.example("k" * 256)
@hypothesis.example('"' + "k" * 255)
@hypothesis.example('"')
@hypothesis.example('""')
def test_keys_are_described_as_they_are_taken(key: str) -> None:
    """No key fits the description and is refused, or the other way round."""
    try:
        idempotency_key(key)
    except IdempotencyKeyInvalid:
        taken = False
    else:
        taken = True

    assert bool(re.fullmatch(IDEMPOTENCY_KEY_PATTERN, key)) == taken


Patterns = Callable[[str, str], str]


@pytest.fixture(scope="module")
def described() -> Patterns:
    """Give the pattern by which a field of a struct is described."""
    app = create_app(Settings.load({}), Database("postgresql://nowhere/", "ledger"))
    schemas = completed(app.openapi_schema.to_schema())["components"]["schemas"]

    def pattern(struct: str, field: str) -> str:
        schema = schemas[struct]["properties"][field]
        return str(schema["oneOf"][1]["pattern"] if "oneOf" in schema else schema["pattern"])

    return pattern


@given(data=st.data())
def test_ids_in_strings_are_described_as_they_are_taken(described: Patterns, data: st.DataObject) -> None:
    """Each that fits the description is read as the whole number that it is."""
    text = data.draw(st.from_regex(described("DepositRequest", "user_id"), fullmatch=True))

    taken = decode(msgspec.json.encode({"user_id": text, "deposit": 1}), DepositRequest)

    assert taken.user_id == Decimal(text)


@given(data=st.data())
def test_amounts_in_strings_are_described_as_they_are_taken(described: Patterns, data: st.DataObject) -> None:
    """Zero is an amount that a user may be opened with, and none that can be paid."""
    text = data.draw(st.from_regex(described("UserRequest", "balance"), fullmatch=True).filter(is_short))

    above_zero = re.fullmatch(described("DepositRequest", "deposit"), text)

    assert (amount_from_text(text) > 0) == (above_zero is not None)


@given(data=st.data())
def test_words_are_described_as_they_are_taken(described: Patterns, data: st.DataObject) -> None:
    """Each text that fits is taken, and each that does not is refused."""
    pattern = described("RequeueRequest", "why")
    why = data.draw((st.text(" \t\x00\x1e\u00a0\u3000a", min_size=1) | st.from_regex(pattern)).filter(is_short))
    body = msgspec.json.encode({"why": why, "by": "me"})

    if re.search(pattern, why):
        assert decode(body, RequeueRequest).why == why
    else:
        with pytest.raises(RequestInvalid):
            decode(body, RequeueRequest)
        assert not why.replace("\x00", "").strip() or "\x00" in why


def is_short(text: str) -> bool:
    """Keep a text below the limits on its length, which are not what a test is about."""
    return len(text) < 400


async def test_the_page_works_without_internet(client: httpx.AsyncClient) -> None:
    """All that it loads comes from the service itself, with its type."""
    page = await client.get("/docs")

    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert page.headers["content-type"].startswith("text/html")
    assert Settings.load({}).app_name in page.text
    assert len(sources) == 4
    for source in sources:
        answer = await client.get(source)
        assert answer.status_code == 200
        assert answer.headers["content-type"].split(";")[0] in {"text/css", "text/javascript", "image/png"}
        assert answer.content


class TestOwnGateway:
    """A real gateway is set."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Call a gateway elsewhere."""
        return Settings.load({"PAYMENT_GATEWAY_URL": "https://gateway.example/v1", "APP_NAME": "<Books & Co>"})

    async def test_then_there_is_no_demo_gateway(self, client: httpx.AsyncClient) -> None:
        """Neither its routes nor their description."""
        answer = await client.get("/api/v1/mock-gateway/effects")
        document = await client.get("/docs/openapi.json")

        assert answer.status_code == 404
        assert "mock-gateway" not in document.text

    async def test_a_title_is_text(self, client: httpx.AsyncClient) -> None:
        """Whatever it has in it."""
        page = await client.get("/docs")

        assert "<title>&lt;Books &amp; Co></title>" in page.text
