"""The header fields of a request, in one dict for all who look at them.

Some ten places look for a field of each request, and each of them would go through the whole list.
"""

from typing import Any, Final, cast

from litestar.types import Scope

_KEY: Final = "ledger.header_fields"


def fields_of(scope: Scope) -> dict[bytes, bytes]:
    """Return the fields by their names in lower case; of one that came more than once, the first."""
    kept = cast("dict[str, Any]", scope)
    fields: dict[bytes, bytes] | None = kept.get(_KEY)
    if fields is None:
        fields = kept[_KEY] = dict(reversed(kept["headers"]))
    return fields


def each_came_once(scope: Scope) -> bool:
    """Tell whether no field came more than once."""
    return len(fields_of(scope)) == len(cast("dict[str, Any]", scope)["headers"])


def values_of(scope: Scope, name: bytes) -> list[bytes]:
    """Return all values of a field, in their order."""
    fields = fields_of(scope)
    if name not in fields:
        return []
    headers = cast("dict[str, Any]", scope)["headers"]
    if len(fields) == len(headers):
        return [fields[name]]
    return [value for each, value in headers if each == name]
