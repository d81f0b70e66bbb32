"""Tables for people: text from outside is shown as text."""

from typing import Any, cast

import msgspec
import pytest

from api.cli.audits.books import print_trial_balance
from api.cli.letters.looking import print_history, print_letters
from api.cli.tables import table, table_console
from api.operator.dead_letters import LetterHistory
from api.views.dead_letters import DeadLetterView
from api.views.payments import EventView
from api.views.trial_balance import CurrencyBalance, TrialBalanceView

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


def test_a_trial_balance_shows_all_its_sums(capsys: pytest.CaptureFixture[str]) -> None:
    """Those of each gateway, suspense and transit too."""
    example = {**cast("Any", CurrencyBalance.EXAMPLE), "suspense": 7.25, "transit": 8.5, "gateways": {SENT: 191.75}}
    books = {**cast("Any", TrialBalanceView.EXAMPLE), "currencies": [example]}

    print_trial_balance(msgspec.convert(books, TrialBalanceView))

    output = capsys.readouterr().out
    shown = output.split()
    assert {"suspense", "7.25", "transit", "8.5", SHOWN, "191.75", "USD", "1196.0"} <= set(shown)
    assert "\x1b" not in output


def test_a_history_does_not_rule_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Reasons and names came over HTTP, from anybody."""
    print_history(LetterHistory(letter=None, events=[EVENT]))

    output = capsys.readouterr().out
    assert output.count(SHOWN) == 2
    assert "\x1b" not in output


def test_a_table_is_not_folded_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that searches the lines finds whole names and amounts."""
    monkeypatch.delenv("COLUMNS", raising=False)
    shown = table("name", "value")
    shown.add_row("GATEWAY_BACKOFF_BASE_SECONDS" * 4, "x" * 100)

    table_console().print(shown)

    assert "GATEWAY_BACKOFF_BASE_SECONDS" * 4 in capsys.readouterr().out
