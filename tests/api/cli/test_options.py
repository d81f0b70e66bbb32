"""Options of several commands take what the HTTP interface takes."""

import click
import msgspec
import pytest

from api.cli.command import PARTITION_MAX
from api.cli.options import decision_text
from api.operator.decision_text import TEXT_CHARACTERS_MAX
from api.resources.request import Text
from ledger.domain.events import TEXT_CHARACTERS_MAX as AUDITED_CHARACTERS_MAX
from ledger.domain.identifiers import SLOTS

TEXTS = [
    "Ada",
    " The bank has lifted its block\nsee its letter of Tuesday ",
    "x" * 500,
    "\u001b[31m",
    "",
    " \t\n\u3000",
    "a\x00b",
    "x" * 501,
    "\udcff",
]


@pytest.mark.parametrize("text", TEXTS)
def test_a_decision_has_the_same_texts_at_the_command_line_and_over_http(text: str) -> None:
    """An operator who changes from one to the other need not write another text."""
    command = click.Command("decide")

    try:
        taken = decision_text(click.Context(command), click.Option(["--why"]), text) == text
    except click.BadParameter:
        taken = False

    assert taken == is_taken_over_http(text)


def is_taken_over_http(text: str) -> bool:
    body = b'"\\ud800"' if text == "\udcff" else msgspec.json.encode(text)
    try:
        return bool(msgspec.json.decode(body, type=Text) == text)
    except msgspec.DecodeError:
        return False


def test_an_audit_takes_each_text_of_a_decision() -> None:
    """Otherwise a decision would be a finding for ever."""
    assert TEXT_CHARACTERS_MAX <= AUDITED_CHARACTERS_MAX


def test_the_highest_partition_is_that_of_the_last_slot() -> None:
    """Its number is written down where nothing of the ledger is loaded."""
    assert PARTITION_MAX == SLOTS - 1
