"""The documentation has every route, every status, and an example of everything, and loads nothing from elsewhere."""

import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from http import HTTPStatus
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
from api.errors import IdempotencyKeyInvalid, RequestInvalid
from api.http.idempotency_keys import IDEMPOTENCY_KEY_PATTERN, idempotency_key
from api.http.problem_table import PROBLEMS
from api.input.bodies import decode
from api.openapi.document import completed
from api.resources.dead_letters import RequeueRequest
from api.resources.payments import DepositRequest
from api.settings import Settings
from ledger.domain.money import amount_from_text
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.version import VERSION

pytestmark = pytest.mark.anyio

METHODS = {"get", "post"}


@pytest.fixture
async def document(client: httpx.AsyncClient) -> Any:
    """Return the OpenAPI document."""
    return (await client.get("/docs/openapi.json")).json()


def operations(document: Any) -> Iterator[tuple[str, str, Any]]:
    """Return path, method and description of every operation."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield path, method, operation


async def test_every_route_is_described(app: Litestar, document: Any) -> None:
    """The routes of the documentation itself, and the pages that explain, are not described."""
    routes = {
        (re.sub(r":\w+}", "}", route.path), method.lower())
        for route in app.routes
        if isinstance(route, HTTPRoute) and route.path != "/" and not route.path.startswith(("/docs", "/problems"))
        for method in route.methods
        if method != "OPTIONS"
    }

    assert {(path, method) for path, method, _ in operations(document)} == routes


async def test_the_document_has_a_title_and_a_version(document: Any) -> None:
    """The title is a setting, and the version is that of the package."""
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == Settings.load({}).app_name
    assert document["info"]["version"] == VERSION


async def test_every_problem_is_described_with_an_example(document: Any) -> None:
    """Problems that any route can answer are described at every route."""
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
        ("/api/v1/users", "post", {201, 400, 401, 403, 413, 415, 422, 429, 500, 503}),
        ("/api/v1/payments/deposit", "post", {202, 400, 401, 403, 404, 413, 415, 422, 429, 500, 503}),
        ("/api/v1/payments/batch", "post", {200, 400, 401, 403, 413, 415, 422, 429, 500, 503}),
        ("/api/v1/payments/{payment_id}", "get", {200, 400, 401, 403, 404, 422, 429, 500, 503}),
        ("/api/v1/dlq/{payment_id}/resolve", "post", {202, 400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 501, 503}),
        ("/readyz", "get", {200, 400, 500, 503}),
    ],
)
async def test_a_route_lists_all_of_its_statuses(
    document: Any,
    path: str,
    method: str,
    statuses: set[int],
) -> None:
    """It lists no other statuses."""
    assert {int(status) for status in document["paths"][path][method]["responses"]} == statuses


async def test_every_request_and_answer_has_an_example(document: Any) -> None:
    """The example is in the schema that it uses."""
    schemas = document["components"]["schemas"]
    for path, method, operation in operations(document):
        contents = [operation.get("requestBody", {}).get("content", {})]
        contents += [answer["content"] for status, answer in operation["responses"].items() if status.startswith("2")]
        for schema in (media["schema"] for content in contents for media in content.values()):
            whole = schema.get("items", schema)
            if "$ref" in whole:
                assert schemas[whole["$ref"].rpartition("/")[2]]["examples"], (path, method)


async def test_examples_fit_their_schemas(document: Any) -> None:
    """An example has every required field, and no unknown field."""
    for name, schema in document["components"]["schemas"].items():
        for example in schema.get("examples", []):
            assert set(schema["required"]) <= set(example), name
            assert set(example) <= set(schema["properties"]), name


async def test_every_reference_leads_somewhere(document: Any) -> None:
    """Every component is used, or is a part of one."""
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))

    assert references == set(document["components"]["schemas"])


async def test_every_operation_says_in_a_few_words_what_it_does(document: Any) -> None:
    """The summary explains the operation in the list of all operations."""
    for _, _, operation in operations(document):
        assert operation["description"].startswith(operation["summary"])
        assert 2 <= len(operation["summary"].split()) <= 20


async def test_an_examples_errors_match_its_text(document: Any) -> None:
    """The text of a refusal names the place of the error."""
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for media in answer.get("content", {}).values():
                example = media.get("examples", {}).get("request_invalid", {}).get("value")
                assert example is None or example["errors"][0]["path"] in example["detail"]


async def test_the_codes_of_problems_are_listed(document: Any) -> None:
    """So that a generated client has a type for them; each example has one of them."""
    codes = set(document["components"]["schemas"]["ProblemDocument"]["properties"]["code"]["enum"])

    assert codes == {error.code for error in PROBLEMS}
    for _, _, operation in operations(document):
        for answer in operation["responses"].values():
            for media in answer.get("content", {}).values():
                assert set(media.get("examples", {})) <= codes


async def test_the_example_of_a_recorded_refusal_has_its_numbers(document: Any) -> None:
    """They are numbers, as in the answer."""
    answer = document["paths"]["/api/v1/payments/withdraw"]["post"]["responses"]["422"]
    example = answer["content"]["application/problem+json"]["examples"]["insufficient_funds"]["value"]

    assert (example["available"], example["needed"], example["currency"]) == (50, 51, "USD")


async def test_operation_ids_are_unique(document: Any) -> None:
    """Generated clients name their functions by them."""
    ids = [operation["operationId"] for _, _, operation in operations(document)]

    assert len(ids) == len(set(ids))


async def test_the_document_has_no_odd_forms(document: Any) -> None:
    """Parameters are never null, and integer bounds are written as integers."""
    for _, _, operation in operations(document):
        for parameter in operation["parameters"]:
            assert "null" not in json.dumps(parameter["schema"])
            assert not re.search(r"\d\.0\b", json.dumps(parameter["schema"]))


async def test_links_lead_to_existing_operations(document: Any) -> None:
    """A link names an existing operation, a parameter or body that it has, and a value that the answer has."""
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
        assert ("requestBody" in link) == (link["operationId"] in {"deposit", "withdraw", "take_batch", "adjust"})
        (media,) = answer["content"].values()
        schema = media["schema"].get("items", media["schema"])
        fields = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]["properties"]
        for field in re.findall(r"\$response\.body#/(?:0/)?(\w+)", json.dumps(link)):
            assert field in fields


async def test_recorded_refusals_are_described(document: Any) -> None:
    """Only a withdrawal without cover is answered with a payment, and a replay repeats the answer."""
    refused = {
        operation["operationId"]: answer
        for _, _, operation in operations(document)
        for answer in operation["responses"].values()
        if "insufficient_funds" in json.dumps(answer.get("content", {}))
    }

    assert set(refused) == {"withdraw", "requeue", "resolve", "adjust"}
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
def test_keys_are_described_as_they_are_accepted(key: str) -> None:
    """A key is accepted exactly if it fits the description."""
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
    """Return the patterns that describe the fields of structs."""
    app = create_app(Settings.load({}), Partitions.whole(Database("postgresql://nowhere/", "ledger")))
    schemas = completed(app.openapi_schema.to_schema())["components"]["schemas"]

    def pattern(struct: str, field: str) -> str:
        schema = schemas[struct]["properties"][field]
        return str(schema["oneOf"][1]["pattern"] if "oneOf" in schema else schema["pattern"])

    return pattern


@given(data=st.data())
def test_ids_in_strings_are_described_as_they_are_accepted(described: Patterns, data: st.DataObject) -> None:
    """A string that fits the pattern is read as its integer."""
    text = data.draw(st.from_regex(described("DepositRequest", "user_id"), fullmatch=True))

    taken = decode(msgspec.json.encode({"user_id": text, "deposit": 1}), DepositRequest)

    assert taken.user_id == Decimal(text)


@given(data=st.data())
def test_amounts_in_strings_are_described_as_they_are_accepted(described: Patterns, data: st.DataObject) -> None:
    """Zero is a valid opening balance, and not a valid payment."""
    text = data.draw(st.from_regex(described("UserRequest", "balance"), fullmatch=True).filter(is_short))

    above_zero = re.fullmatch(described("DepositRequest", "deposit"), text)

    assert (amount_from_text(text) > 0) == (above_zero is not None)


@given(data=st.data())
def test_texts_are_described_as_they_are_accepted(described: Patterns, data: st.DataObject) -> None:
    """A text is accepted exactly if it fits the pattern."""
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
    """Keep a text below the length limits, which these tests do not cover."""
    return len(text) < 400


async def test_the_page_works_without_internet(client: httpx.AsyncClient) -> None:
    """The service itself serves everything that the page loads, with the right content type."""
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
    """A real gateway is configured."""

    @pytest.fixture
    def settings(self) -> Settings:
        """Set a gateway elsewhere."""
        return Settings.load({"PAYMENT_GATEWAY_URL": "https://gateway.example/v1", "APP_NAME": "<Books & Co>"})

    async def test_then_there_is_no_demo_gateway(self, client: httpx.AsyncClient) -> None:
        """Neither its routes nor their descriptions exist."""
        answer = await client.get("/api/v1/mock-gateway/effects")
        document = await client.get("/docs/openapi.json")

        assert answer.status_code == 404
        assert "mock-gateway" not in document.text

    async def test_a_title_is_text(self, client: httpx.AsyncClient) -> None:
        """A title with markup is escaped."""
        page = await client.get("/docs")

        assert "<title>&lt;Books &amp; Co></title>" in page.text
