"""The reference page of events: every topic with its fields, from the classes of `ledger.domain.events`."""

from typing import Any, Final, get_args, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from ledger.domain.events import (
    EVENT_BY_TOPIC,
    AccountEvent,
    Event,
    IdempotencyKey,
    PaymentEnded,
    PaymentEvent,
    Recorded,
)
from tests.support.reference.markdown import code, docstring, page, table

INTRODUCTION: Final = """\
An event is a row of the table [`events`](tables.md#events): `originator_id` is its stream (`account-1`,
`payment-1025`, `ledger`), `originator_version` its place in the stream from 1, `topic` its kind, `notification_id` its
position in the log, and `state` one JSON object, which has these fields:

{envelope}

`version` is left out while it is 1. A field of `data` that is at its default is left out too. Amounts are whole minor
units of the currency. A reader passes over fields that it does not know."""


def events_page() -> str:
    """Write the page."""
    introduction = INTRODUCTION.format(envelope=_fields(_envelope()))
    accounts = [each for each in EVENT_BY_TOPIC.values() if each in get_args(AccountEvent)]
    payments = [each for each in EVENT_BY_TOPIC.values() if each in get_args(PaymentEvent)]
    others = [each for each in EVENT_BY_TOPIC.values() if each not in accounts and each not in payments]
    sections = ["## Events of accounts", *map(_section, accounts), "## Events of payments", *map(_section, payments)]
    sections += ["## Events of the ledger", *map(_section, others)]
    sections.append(f"## Idempotency keys in events\n\n{docstring(IdempotencyKey)}\n\n{_fields(_rows(IdempotencyKey))}")
    return page("Events", introduction, sections)


def _section(event: type[Event]) -> str:
    about = docstring(event)
    if issubclass(event, PaymentEnded):
        about += "\n\n" + docstring(PaymentEnded)
    return f"### {event.TOPIC}\n\n`{event.__name__}`, version {event.VERSION}. {about}\n\n{_fields(_rows(event))}"


def _fields(rows: list[tuple[str, str, str]]) -> str:
    return table(["field", "type", "default"], rows)


def _envelope() -> list[tuple[str, str, str]]:
    hints = get_type_hints(Recorded)
    stored = [name for name in Recorded.__struct_fields__ if not name.startswith("originator") and name != "data"]
    rows = [(code(name), type_name(hints[name]), "absent" if name == "by" else "") for name in stored]
    return [*rows, ("`version`", "integer: the version of the event's shape", "1"), ("`data`", "the event itself", "")]


def _rows(struct: type[Struct]) -> list[tuple[str, str, str]]:
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    hints = get_type_hints(struct)
    return [(code(name), type_name(hints[name]), _default(field.default)) for name, field in fields.items()]


def _default(value: Any) -> str:
    if value is NODEFAULT:
        return ""
    return code(msgspec.json.encode(value).decode())


def type_name(hint: Any) -> str:
    """Say in the words of JSON what a field holds."""
    plain = {int: "integer", str: "text", bool: "true or false"}
    if hint in plain:
        return plain[hint]
    if getattr(hint, "__name__", "") == "datetime":
        return "time, RFC 3339 in UTC"
    if hint is IdempotencyKey:
        return "[idempotency key](#idempotency-keys-in-events)"
    arguments = get_args(hint)
    if arguments and all(isinstance(each, str) for each in arguments):
        return ", ".join(map(code, arguments))
    if type(None) in arguments:
        (inner,) = (each for each in arguments if each is not type(None))
        return f"{type_name(inner)}, or null"
    assert arguments, hint
    return type_name(arguments[0])  # Annotated
