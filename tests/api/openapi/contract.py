"""Additions to the OpenAPI contract for schemathesis, because OpenAPI only describes the shape of a request.

All of schemathesis' checks are on. This file adds checks of our own. It also excuses refusals of well-formed requests
that depend on the ledger's state: a request does not show its user's currency, the user's balance, or used keys. Each
excuse holds for one operation and has a rule of its own.
"""

import os
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import jsonschema_rs
import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.core.transport import Response
from schemathesis.openapi.checks import RejectedPositiveData

Case = schemathesis.Case[Any]

PROBLEM: Final = "application/problem+json"

ANSWERS: Final = "CONTRACT_ANSWERS"
"""The variable that names the file to which operation and status of each answer are written."""

BODY_BYTES_MAX: Final = 1024 * 1024

WHOLE_IN_ALL_CURRENCIES_MAX: Final = 10**11
"""A whole amount up to this is within the limits of every currency, with any number of decimals."""

_OF_DECISIONS: Final = {"insufficient_funds", "balance_limit_exceeded", "idempotency_key_reused"}
_BY_STATE: Final = {
    "open_user": {"amount_invalid", "idempotency_key_reused"},
    "deposit": {"amount_invalid", "idempotency_key_reused", "balance_limit_exceeded"},
    "withdraw": {"amount_invalid", "idempotency_key_reused", "insufficient_funds"},
    "requeue": _OF_DECISIONS,
    "resolve": {*_OF_DECISIONS, "contradiction_not_named"},
    "adjust": {*_OF_DECISIONS, "contradiction_not_named", "idempotency_key_missing"},
}
"""The codes with which a well-formed request may get 422, because of the ledger's state."""

_NOT_THERE_YET: Final = ("the log has no such position", "has not come yet")
"""The messages about a position beyond the log's end and about a time to come."""

_AMOUNTS: Final = {"open_user": "balance", "deposit": "deposit", "withdraw": "amount", "adjust": "amount"}
_http: Final = httpx.Client(timeout=30)
_OF_ITEM: Final = {*_BY_STATE["deposit"], *_BY_STATE["withdraw"], "user_not_found"}


# --- requests --------------------------------------------------------------------------------------------------------


@schemathesis.hook
def before_call(_: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Change requests that must be accepted so that they can be. OpenAPI cannot express these rules."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if {"at", "position"} <= set(case.query):
        del case.query["position"]  # a request may have one of the two
    if "cursor" in case.query:
        cursor = _cursor_of(case, kwargs.get("base_url") or case.operation.base_url)
        if cursor is None:
            del case.query["cursor"]
        else:
            case.query["cursor"] = cursor


def _cursor_of(case: Case, base_url: str | None) -> str | None:
    """Return a valid cursor, from the first page of the same list with the same filters."""
    first = {name: value for name, value in case.query.items() if name not in {"cursor", "limit"}} | {"limit": 1}
    page = _http.get(f"{(base_url or '').rstrip('/')}{case.formatted_path}", params=first)
    return page.json().get("next_cursor") if page.is_success else None


@schemathesis.hook
def after_call(_: schemathesis.HookContext, case: Case, response: Response) -> None:
    """Write down how each operation was answered, for the test that reads it."""
    with Path(os.environ[ANSWERS]).open("a") as answers:
        answers.write(f"{case.operation.definition.raw['operationId']} {response.status_code}\n")


# --- excuses ---------------------------------------------------------------------------------------------------------


@schemathesis.hook
def filter_failure(_: schemathesis.HookContext, failure: Failure, case: Case, response: Response) -> bool:
    """Drop the failures that are excused."""
    operation = case.operation.definition.raw["operationId"]
    if response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # The description does not limit the size of a body as a whole.
        return int(response.request.headers["Content-Length"]) <= BODY_BYTES_MAX
    if isinstance(failure, RejectedPositiveData) and response.status_code == HTTPStatus.UNPROCESSABLE_ENTITY:
        return not _depends_on_state(operation, case, response)
    if isinstance(failure, AcceptedNegativeData) and isinstance(case.body, dict):
        # A boolean may be a number or a text too, as an id may be a text.
        force = case.body.get("force", False)
        if not isinstance(force, bool) and str(force).lower() in {"0", "1", "true", "false"}:
            return False
    # A batch is answered 200 even if its payments fail; `batch_payments_fail_singly` checks each of them.
    return not (operation == "take_batch" and response.status_code == HTTPStatus.OK)


def _depends_on_state(operation: str, case: Case, response: Response) -> bool:
    if operation == "pay":
        # The demo gateway has rules of its own, for keys among others, and its refusals are not problems.
        return response.headers["content-type"] == ["application/json"]
    code = response.json().get("code")
    if code == "amount_invalid":
        body: Any = case.body
        return operation in _AMOUNTS and not _fits_every_currency(body[_AMOUNTS[operation]])
    if operation in {"make_key", "plan_many"}:
        # The scopes that fit a bound key, and the least id of a user; and only a resolution has an outcome.
        return bool(code == "request_invalid")
    if code == "request_invalid":
        return any(error["message"].startswith(_NOT_THERE_YET) for error in response.json()["errors"])
    return code in _BY_STATE.get(operation, set())


def _fits_every_currency(amount: object) -> bool:
    exact = Decimal(str(amount))
    return exact == exact.to_integral_value() and exact <= WHOLE_IN_ALL_CURRENCIES_MAX


# --- checks ----------------------------------------------------------------------------------------------------------


@schemathesis.check
def every_answer_has_the_id_of_its_request(_: schemathesis.CheckContext, response: Response, __: Case) -> None:
    """The id finds the request in the logs."""
    assert len(response.headers.get("x-request-id", [])) == 1, "X-Request-ID is missing"


@schemathesis.check
def every_refusal_is_a_documented_problem(_: schemathesis.CheckContext, response: Response, case: Case) -> None:
    """Its code is among the examples of the route, and its texts are not empty."""
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
    """There is one result for each payment, in order: a problem if it does not fit the description, else a payment.

    A payment that fits may be refused for the ledger's own reasons.
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
    # Unknown addresses and methods belong to no operation, so no operation documents them.
    everywhere: dict[int, set[str]] = {
        HTTPStatus.NOT_FOUND: {"route_not_found"},
        HTTPStatus.METHOD_NOT_ALLOWED: {"method_not_allowed"},
    }
    answers = case.operation.definition.raw["responses"]
    content = answers.get(str(status), {}).get("content", {})
    return everywhere.get(status, set()) | set(content.get(PROBLEM, {}).get("examples", {}))
