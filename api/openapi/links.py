"""OpenAPI links for the documentation: for the ids in an answer, the requests that use them.

Programs generated from the documentation can follow the links. The contract test follows them too.
"""

from collections.abc import Mapping
from typing import Any, Final

Links = Mapping[str, Mapping[str, Any]]
"""OpenAPI links by name; a link's name is the id of the operation that it leads to."""


def _leads_to(parameter: str, value: str, *operations: str) -> Links:
    return {name: {"operationId": name, "parameters": {parameter: value}} for name in operations}


def _asks_for(**bodies: Mapping[str, Any]) -> Links:
    return {name: {"operationId": name, "requestBody": body} for name, body in bodies.items()}


_NEW_USER: Final = "$response.body#/id"
_PAYMENT: Final = _leads_to("payment_id", "$response.body#/payment_id", "read_payment", "read_history")
_USER_OF_PAYMENT: Final = _leads_to("user_id", "$response.body#/user_id", "read_user", "read_statement")

_PAYMENT_ADJUSTED: Final = {
    "operationId": "adjust",
    "parameters": {"payment_id": "$response.body#/payment_id"},
    "requestBody": {"against": "suspense", "why": "The gateway paid out twice", "by": "Ada Lovelace"},
}

LINKS: Final[Mapping[str, Mapping[str, Links]]] = {
    "open_user": {
        "201": {
            **_leads_to("user_id", _NEW_USER, "read_user", "read_balance", "list_transactions", "read_statement"),
            **_asks_for(
                deposit={"user_id": _NEW_USER, "deposit": 200},
                withdraw={"user_id": _NEW_USER, "amount": 50},
                take_batch={"payments": [{"type": "deposit", "user_id": _NEW_USER, "amount": 200}]},
            ),
        }
    },
    "deposit": {"202": {**_PAYMENT, **_USER_OF_PAYMENT}},
    "withdraw": {"202": {**_PAYMENT, **_USER_OF_PAYMENT}, "422": _PAYMENT},
    "read_payment": {"200": _USER_OF_PAYMENT},
    "list_dead_letters": {"200": _leads_to("payment_id", "$response.body#/0/payment_id", "requeue", "resolve")},
    "requeue": {"202": _PAYMENT},
    "resolve": {"202": {**_PAYMENT, "adjust": _PAYMENT_ADJUSTED}},
}
"""The links of each answer, by operation and status."""
