"""`payment-ledger settings`: each value, where it comes from, and no secret."""

import json
import os
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from api.cli.commands.settings import masked, settings_view
from api.settings import CHECKOUT, Settings
from api.settings.declaration import rows_of

DOTENV = """\
PORT=9000
TRANSACTION_FEE=1.75
DATABASE_URL=postgresql://ada:hunter2@db/books?sslpassword=hunter3
PAYMENT_GATEWAY_URL=https://ada:hunter4@pay.example/v1
DEMO_GATEWAY_CHAOS_SEED=3
"""


def run(directory: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "COV"))}
    return subprocess.run(
        [sys.executable, "-m", "api.cli", *words],
        cwd=directory,
        env=kept | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "200", "HOME": "/nowhere"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Give a directory with a `.env`."""
    (tmp_path / ".env").write_text(DOTENV, encoding="utf-8")
    return tmp_path


def test_each_setting_is_shown_with_where_it_comes_from(directory: Path) -> None:
    """For machines, with the types of JSON."""
    shown = run(directory, "settings", "--json", host="localhost", GATEWAY_SETTLE_SECONDS="7")

    assert (shown.returncode, shown.stderr) == (0, "")
    seen = json.loads(shown.stdout)
    by_name = {each["name"]: each for each in seen["settings"]}
    assert seen["dotenv"] == str(directory / ".env")
    assert by_name.keys() == {row.name for row in rows_of(Settings).values()}
    assert origin(by_name["PORT"]) == (9000, ".env", None)
    assert origin(by_name["TRANSACTION_FEE"]) == (1.75, ".env", None)
    assert origin(by_name["HOST"]) == ("localhost", "environment", None)
    assert origin(by_name["GATEWAY_INQUIRY_DELAY_SECONDS"]) == (7, "environment", "GATEWAY_SETTLE_SECONDS")
    assert origin(by_name["DEMO_GATEWAY_KIND"]) == ("chaos", ".env", "DEMO_GATEWAY_CHAOS_SEED")
    assert origin(by_name["LEDGER_DATA_DIR"]) == (str(directory / "var"), "default", None)
    assert (by_name["AUTO_CREATE_TABLES"]["value"], by_name["AUTO_CREATE_TABLES"]["under_serve"]) == (False, True)
    assert by_name["TRANSACTION_FEE"]["unit"] == "percent"


def origin(shown: dict[str, Any]) -> tuple[object, str, str | None]:
    return shown["value"], shown["source"], shown["old_name"]


@pytest.mark.parametrize("words", [["settings"], ["settings", "--json"]])
def test_no_password_is_shown(directory: Path, words: list[str]) -> None:
    """The rest of a URL is."""
    shown = run(directory, *words)

    assert "hunter" not in shown.stdout + shown.stderr
    assert "postgresql://ada:***@db/books?sslpassword=***" in shown.stdout
    assert "https://ada:***@pay.example/v1" in shown.stdout


def test_people_are_shown_a_table(directory: Path) -> None:
    """It includes unset settings, and says where a default depends on the command."""
    shown = run(directory, "settings", GATEWAY_SETTLE_SECONDS="7", GATEWAY_INQUIRY_DELAY_SECONDS="6")

    lines = {line.split()[0]: " ".join(line.split()[1:]) for line in shown.stdout.splitlines()}
    assert lines["PORT"] == "9000 .env"
    assert lines["GATEWAY_TIMEOUT_SECONDS"] == "1 seconds default"
    assert lines["DEMO_GATEWAY_SEED"] == "3 .env, as DEMO_GATEWAY_CHAOS_SEED"
    assert lines["GATEWAY_INQUIRY"] == "true default"
    assert lines["AUTO_CREATE_TABLES"] == "false default; true under serve"
    assert lines[".env"] == f"is {directory / '.env'}"
    assert shown.stderr.startswith("Warning: GATEWAY_SETTLE_SECONDS has no effect")


def test_settings_that_are_wrong_are_named(directory: Path) -> None:
    """All of them, with exit code 2."""
    ended = run(directory, "settings", PORT="x", LOG_LEVEL="y")

    assert ended.returncode == 2
    assert "PORT has to be a whole number" in ended.stderr
    assert "LOG_LEVEL has to be" in ended.stderr


@pytest.mark.parametrize(
    ("secret", "shown"),
    [("hunter2", "***"), (None, None), ("https://ada:hunter2@pay.example", "https://ada:***@pay.example")],
)
def test_of_a_secret_only_a_url_is_shown_in_part(secret: str | None, shown: str | None) -> None:
    """Only a URL has something in it that an operator may see."""
    assert shown == masked(secret)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"GATEWAY_CURRENCIES": "all", "GATEWAY_LATE_INQUIRY_SECONDS": "none"},
        {"GATEWAY_CURRENCIES": "jpy usd", "GATEWAY_LATE_INQUIRY_SECONDS": "0.5 12345.678", "CORS_ORIGINS": "*"},
    ],
)
def test_a_shown_value_is_one_that_can_be_set(given: dict[str, str]) -> None:
    """It is the same value then. An empty text would mean that the setting is unset."""
    settings = Settings.load(given)
    shown = {each.name: each.value for each in settings_view(Settings.read(given)).settings}

    set_again = {name: str(value) for name, value in shown.items() if value is not None}

    assert "" not in set_again.values()
    assert Settings.load(set_again) == settings


def test_a_view_without_dotenv_has_none() -> None:
    """And says that nothing is set."""
    seen = settings_view(Settings.read({}))

    assert seen.dotenv is None
    assert {each.source for each in seen.settings} == {"default"}
    assert next(each.value for each in seen.settings if each.name == "TRANSACTION_FEE") == Decimal(2)
    assert seen.warnings == []
