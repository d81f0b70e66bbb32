"""What people are shown: whatever somebody else has written in it, it is text."""

from typing import Any, cast

import msgspec
import pytest

from api.dead_letters import DeadLetterView
from api.operations import LetterHistory
from api.payments import EventView
from api.tables import print_history, print_letters

SENT = "[red]a\x1b[2Jb\x07\u202ec"
SHOWN = r"[red]a\x1b[2Jb\x07\u202ec"

LETTER = msgspec.convert({**cast("Any", DeadLetterView.EXAMPLE), "error": SENT}, DeadLetterView)
EVENT = msgspec.convert({**cast("Any", EventView.EXAMPLE), "by": SENT, "data": {"why": SENT}}, EventView)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show everything in one line."""
    monkeypatch.setenv("COLUMNS", "200")


def test_a_letter_does_not_rule_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Its error may be in the gateway's words."""
    print_letters([LETTER])

    output = capsys.readouterr().out
    assert SHOWN in output
    assert "\x1b" not in output


def test_a_history_does_not_rule_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons and names came over HTTP, from anybody."""
    print_history(LetterHistory(letter=None, events=[EVENT]))

    output = capsys.readouterr().out
    assert output.count(SHOWN) == 2
    assert "\x1b" not in output
