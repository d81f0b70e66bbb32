"""The error tree: complete, documented, and equal in the docstring and in the code."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

import ledger.errors
from ledger.errors import (
    AccountNotFound,
    InsufficientFunds,
    LedgerError,
    LogBroken,
    NotRequeueable,
    NotResolvable,
    Refusal,
    StoreBroken,
    Unavailable,
    WriterBusy,
    WrongState,
)


def tree(error_class: type[LedgerError]) -> Iterator[type[LedgerError]]:
    """A class and all its subclasses."""
    yield error_class
    for child in error_class.__subclasses__():
        yield from tree(child)


OURS = [error_class for error_class in tree(LedgerError) if error_class.__module__ == "ledger.errors"]
EACH = pytest.mark.parametrize("error_class", OURS, ids=lambda error_class: error_class.__name__)


def drawn(line: str) -> tuple[int, str] | None:
    """The depth of a line in the drawing, and the class that it names."""
    found = re.match(r"(?P<stem>[ |]*)(?:\+-- )?(?P<name>[A-Z]\w+)(?:\s{2,}|$)", line)
    return None if found is None else (line.index(found["name"]) // 4, found["name"])


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    """The drawing shows every class, in order and at its depth."""

    def outline(error_class: type[LedgerError], depth: int) -> list[tuple[int, str]]:
        below = [child for child in error_class.__subclasses__() if child in OURS]
        return [(depth, error_class.__name__), *(row for child in below for row in outline(child, depth + 1))]

    drawing = (ledger.errors.__doc__ or "").split("\n\n")[1]

    assert outline(LedgerError, 1) == [row for line in drawing.splitlines() if (row := drawn(line)) is not None]


@EACH
def test_each_class_says_what_is_wrong_in_one_sentence(error_class: type[LedgerError]) -> None:
    """The first line of the docstring is the message. It starts with a capital and ends with a full stop."""
    message = (error_class.__doc__ or "").partition("\n")[0]

    assert re.fullmatch(r"[A-Z`].*\.", message), message


@EACH
def test_each_class_has_a_code_of_its_own_in_snake_case(error_class: type[LedgerError]) -> None:
    """Clients branch on codes, so a code is neither inherited nor used twice."""
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error_class.code)
    assert "code" in vars(error_class)
    assert [error_class] == [other for other in OURS if other.code == error_class.code]


@pytest.mark.parametrize(
    ("error_class", "code"),
    [
        ("AccountNotFound", "user_not_found"),
        ("PaymentNotFound", "payment_not_found"),
        ("AmountInvalid", "amount_invalid"),
        ("CurrencyUnknown", "currency_unknown"),
        ("CurrencyNotSupported", "currency_not_supported"),
        ("BalanceLimitExceeded", "balance_limit_exceeded"),
        ("InsufficientFunds", "insufficient_funds"),
        ("IdempotencyKeyReused", "idempotency_key_reused"),
        ("NotRequeueable", "not_requeueable"),
        ("NotResolvable", "not_resolvable"),
        ("NotAdjustable", "not_adjustable"),
        ("ContradictionNotNamed", "contradiction_not_named"),
        ("OutcomeImpossible", "outcome_impossible"),
        ("StaleCommand", "stale_command"),
        ("CommandRejected", "command_rejected"),
        ("WriterBusy", "writer_busy"),
        ("WriterStopped", "writer_stopped"),
        ("DatabaseUnavailable", "database_unavailable"),
        ("OutcomeUnknown", "outcome_unknown"),
        ("StoreInactive", "store_inactive"),
    ],
)
def test_the_codes_that_clients_know_do_not_change(error_class: str, code: str) -> None:
    """They are part of the HTTP contract."""
    assert code == getattr(ledger.errors, error_class).code


@EACH
def test_only_errors_outside_the_command_may_be_retried(error_class: type[LedgerError]) -> None:
    """A refusal and a broken store are permanent."""
    assert issubclass(error_class, Unavailable) == error_class.may_retry


def test_an_error_has_a_message_and_facts() -> None:
    """Logs and operators get one line, and the API gets them separately."""
    error = InsufficientFunds(currency="USD", available_minor=5, needed_minor=102)

    assert error.message == "Less money is available than the payment needs."
    assert error.facts == {"currency": "USD", "available_minor": 5, "needed_minor": 102}
    facts = "currency='USD', available_minor=5, needed_minor=102"
    assert str(error) == f"Less money is available than the payment needs. ({facts})"


def test_an_error_without_facts_has_only_a_message() -> None:
    """The message is not followed by empty brackets."""
    error = WriterBusy()

    assert error.facts == {}
    assert str(error) == error.message == "Too many commands are waiting to be written."


def test_a_class_without_a_docstring_has_an_empty_message() -> None:
    """With `python -OO` a class has no docstring, and its message is empty."""
    wordless = type("Wordless", (Refusal,), {"__doc__": None})

    assert wordless().message == ""


def test_two_errors_with_the_same_facts_are_two_errors() -> None:
    """An exception equals only itself, so that chains and tracebacks never mix."""
    assert AccountNotFound(account_id=1) != AccountNotFound(account_id=1)
    assert len({AccountNotFound(account_id=1), AccountNotFound(account_id=1)}) == 2


@pytest.mark.parametrize("error_class", [NotRequeueable, NotResolvable])
def test_both_errors_of_state_name_the_payment_and_its_state(error_class: type[WrongState]) -> None:
    """Both have the same facts for clients."""
    error = error_class(payment_id=7, state="succeeded")

    assert error.facts == {"payment_id": 7, "state": "succeeded"}


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (ledger.errors.AmountInvalid(why="it is zero"), {"why": "it is zero"}),
        (ledger.errors.CommandRejected(sqlstate="22P05"), {"sqlstate": "22P05"}),
        (ledger.errors.SchemaMissing(schema="ledger"), {"schema": "ledger"}),
        (ledger.errors.SchemaOlder(schema="ledger", missing="0002"), {"schema": "ledger", "missing": "0002"}),
        (ledger.errors.SchemaNewer(schema="ledger", unknown="0009"), {"schema": "ledger", "unknown": "0009"}),
        (ledger.errors.RoleMissing(sql="CREATE ROLE x"), {"sql": "CREATE ROLE x"}),
        (LogBroken(position=3, what="a gap"), {"position": 3, "what": "a gap"}),
    ],
)
def test_facts_are_named(error: LedgerError, facts: dict[str, Any]) -> None:
    """Facts are keyword-only, so that two of one type cannot be swapped."""
    assert facts == error.facts


def test_a_broken_store_is_no_refusal() -> None:
    """The client did nothing wrong if an operator must repair the store."""
    assert not issubclass(StoreBroken, Refusal | Unavailable)
