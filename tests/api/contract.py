"""What schemathesis is told about the contract beyond OpenAPI, which says what a request looks like and no more.

All its checks are on. What follows here are checks of our own, and for each refusal of a request that looks right, the
reason why it is right to refuse it: which amounts a user's currency has, what he owns and which keys were used before
is not to be seen in a request. What is excused is excused for one operation, and held to a rule of its own.
"""

import os
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import schemathesis
from schemathesis.core.failures import Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

Case = schemathesis.Case[Any]

PROBLEM: Final = "application/problem+json"

ANSWERS: Final = "CONTRACT_ANSWERS"
"""Names the file to which operation and status of each answer are written."""

BODY_BYTES_MAX: Final = 1024 * 1024

WHOLE_IN_ALL_CURRENCIES_MAX: Final = 10**11
"""A whole amount up to this is within the limits of every currency, whatever its decimals."""

_BY_STATE: Final = {
    "open_user": {"amount_invalid", "idempotency_key_reused"},
    "deposit": {"amount_invalid", "idempotency_key_reused", "balance_limit_exceeded"},
    "withdraw": {"amount_invalid", "idempotency_key_reused", "insufficient_funds"},
    "requeue": {"insufficient_funds", "balance_limit_exceeded"},
    "resolve": {"insufficient_funds", "balance_limit_exceeded"},
}
"""What may be refused with 422 although the request looks right, because of what the ledger holds."""

_AMOUNTS: Final = {"open_user": "balance", "deposit": "deposit", "withdraw": "amount"}
_http: Final = httpx.Client(timeout=30)
_OF_ITEM: Final = {*_BY_STATE["deposit"], *_BY_STATE["withdraw"], "user_not_found"}


# --- requests --------------------------------------------------------------------------------------------------------


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Make requests that have to be accepted ones that can be: OpenAPI has no words for what is changed here."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if {"at", "position"} <= set(case.query):
        del case.query["position"]  # one or the other
    if "cursor" in case.query:
        cursor = _cursor_of(case, kwargs.get("base_url") or case.operation.base_url)
        if cursor is None:
            del case.query["cursor"]
        else:
            case.query["cursor"] = cursor


def _cursor_of(case: Case, base_url: str | None) -> str | None:
    """Take a cursor from where cursors come from: the first page of the same list with the same filters."""
    first = {name: value for name, value in case.query.items() if name not in {"cursor", "limit"}} | {"limit": 1}
    page = _http.get(f"{(base_url or '').rstrip('/')}{case.formatted_path}", params=first)
    return page.json().get("next_cursor") if page.is_success else None


@schemathesis.hook
def after_call(_: schemathesis.HookContext, case: Case, response: Response) -> None:
    """Note how each operation was answered, for the test that reads it."""
    with Path(os.environ[ANSWERS]).open("a") as answers:
        answers.write(f"{case.operation.definition.raw['operationId']} {response.status_code}\n")


# --- excuses ---------------------------------------------------------------------------------------------------------


@schemathesis.hook
def filter_failure(_: schemathesis.HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Keep a failure, unless it is one of those that are right."""
    operation = case.operation.definition.raw["operationId"]
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # How large a body may be as a whole is no part of its description, whether it fits that or not.
        return int(response.request.headers["Content-Length"]) <= BODY_BYTES_MAX
    if isinstance(failure, RejectedPositiveData) and response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return not _depends_on_state(operation, case, response)
    # A batch's payments fail singly, with 200 for all of them; `batch_payments_fail_singly` looks at each.
    return not (operation == "take_batch" and response.status_code == HTTPStatus.OK)


def _depends_on_state(operation: str, case: Case, response: Response) -> bool:
    if operation == "pay":
        # The demo gateway has rules of its own, for keys among others, and says no in its own words.
        return response.headers["content-type"] == ["application/json"]
    code = response.json().get("code")
    if code == "amount_invalid":
        body: Any = case.body
        return operation in _AMOUNTS and not _fits_every_currency(body[_AMOUNTS[operation]])
    return code in _BY_STATE.get(operation, set())


def _fits_every_currency(amount: object) -> bool:
    exact = Decimal(str(amount))
    return exact == exact.to_integral_value() and exact <= WHOLE_IN_ALL_CURRENCIES_MAX


# --- checks ----------------------------------------------------------------------------------------------------------


@schemathesis.check
def every_answer_has_the_id_of_its_request(_: schemathesis.CheckContext, response: Response, __: Case) -> None:
    """By which it is found in the logs."""
    assert len(response.headers.get("x-request-id", [])) == 1, "X-Request-ID is missing"


@schemathesis.check
def every_refusal_is_a_documented_problem(_: schemathesis.CheckContext, response: Response, case: Case) -> None:
    """With a code that stands among the examples of the route, and words that say what to do."""
    if response.status_code < HTTPStatus.BAD_REQUEST or _is_of_demo_gateway(response, case):
        return
    assert response.headers["content-type"] == [PROBLEM], response.headers["content-type"]
    problem = response.json()
    assert problem["code"] in _documented_codes(case, response.status_code), problem["code"]
    assert problem["type"] == f"/problems/{problem['code']}"
    assert problem["status"] == response.status_code
    assert problem["title"]
    assert problem["detail"]
    assert problem.get("request_id", response.headers["x-request-id"][0]) == response.headers["x-request-id"][0]
    if response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        assert all(each["message"] for each in problem["errors"])
        assert problem["errors"]


@schemathesis.check
def batch_payments_fail_singly(_: schemathesis.CheckContext, response: Response, case: Case) -> None:
    """One answer for each payment, in order: what does not fit the description is a problem, and what does, a payment.

    Unless the ledger has a reason of its own against it.
    """
    if case.operation.definition.raw.get("operationId") != "take_batch" or response.status_code != HTTPStatus.OK:
        return
    body: Any = case.body
    wishes, results = body["payments"], response.json()["results"]
    assert len(wishes) == len(results)
    document: Any = case.operation.schema.raw_schema
    validator = jsonschema_rs.validator_for(document["components"]["schemas"]["BatchItem"])
    for wish, result in zip(wishes, results, strict=True):
        code = result.get("code")
        if not validator.is_valid(wish):
            assert code is not None, f"{wish} was taken"
        elif code == "amount_invalid":
            assert not _fits_every_currency(wish["amount"]), f"{wish} was refused"
        else:
            assert code in {None, *_OF_ITEM}, f"{wish} was refused: {code}"


def _is_of_demo_gateway(response: Response, case: Case) -> bool:
    is_its_route = case.operation.tags == ["demo gateway"]
    return is_its_route and response.headers["content-type"] == ["application/json"]


def _documented_codes(case: Case, status: int) -> set[str]:
    # Addresses and methods that do not exist are refused by no operation, and so stand at none.
    everywhere: dict[int, set[str]] = {
        HTTPStatus.NOT_FOUND: {"route_not_found"},
        HTTPStatus.METHOD_NOT_ALLOWED: {"method_not_allowed"},
    }
    answers = case.operation.definition.raw["responses"]
    content = answers.get(str(status), {}).get("content", {})
    return everywhere.get(status, set()) | set(content.get(PROBLEM, {}).get("examples", {}))
