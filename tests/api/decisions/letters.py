"""Letters for tests of decisions: payments that the gateway declined, that are in doubt, or that were contradicted."""

from collections.abc import Iterable
from typing import Any

from ledger.domain.commands import Fail, InquireAfter
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import project
from tests.support.databases import execute
from tests.support.ledgers.running_writer import deposit, inquiry, opening, outcome, withdrawal

FAILED: dict[str, Any] = {"outcome": "declined", "error": "gateway_error_400", "then": Fail()}
UNKNOWN: dict[str, Any] = {"outcome": "unknown", "error": "timeout", "then": InquireAfter(5.0)}
UNCLEAR: dict[str, Any] = {"answer": "no_clear_answer", "error": "pending", "then": InquireAfter(5.0)}


def carry_out(writer: Writer, commands: Iterable[Any]) -> list[Any]:
    """Carry out commands in order, and return their answers."""
    return [future.result() for future in [writer.submit(command) for command in commands]]


def make_failed(writer: Writer, *requests: Any) -> list[int]:
    """Let payments fail at the gateway, and return their ids."""
    made = carry_out(writer, requests)
    carry_out(writer, [outcome(each.payment_id, account_id=each.account_id, **FAILED) for each in made])
    return [each.payment_id for each in made]


def make_in_doubt(writer: Writer, *requests: Any) -> list[int]:
    """Let payments be parked, and return their ids."""
    made = carry_out(writer, requests)
    carry_out(writer, [outcome(each.payment_id, account_id=each.account_id, **UNKNOWN) for each in made])
    carry_out(writer, [inquiry(each.payment_id, account_id=each.account_id, **UNCLEAR) for each in made])
    return [each.payment_id for each in made]


def contradict(writer: Writer, payment_id: int) -> None:
    """Let the gateway tell of success after a payment has failed."""
    carry_out(writer, [outcome(payment_id, seen_version=3)])


__all__ = ["carry_out", "contradict", "deposit", "make_failed", "make_in_doubt", "opening", "project", "withdrawal"]


def events_of(database: Database) -> list[dict[str, Any]]:
    """Return all events of the store, oldest first, as they are stored."""
    rows = execute(
        database,
        "SELECT notification_id, originator_id, topic, convert_from(state, 'UTF8')::json FROM events ORDER BY 1",
    )
    return [{"position": row[0], "stream": row[1], "topic": row[2], **row[3]} for row in rows]
