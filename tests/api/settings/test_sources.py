"""Where the values of settings come from: the environment, `.env`, and old names."""

from pathlib import Path

import pytest

from api.settings import CHECKOUT, Settings, find_dotenv
from api.settings.loading import Source
from tests.api.settings.problems import problems_of


def test_a_dotenv_file_is_read_as_people_write_it(tmp_path: Path) -> None:
    """Byte order mark, export, quotes, spaces, comments and Windows line ends are all fine."""
    dotenv = tmp_path / ".env"
    dotenv.write_bytes(
        b"\xef\xbb\xbfport = 9000\r\n"
        b"# a comment\r\n"
        b"   \r\n"
        b"export HOST=localhost\r\n"
        b"APP_NAME=My Own Ledger # shown in the documentation\r\n"
        b"LEDGER_SCHEMA='books' # quoted\r\n"
        b'LEDGER_CURRENCY="EUR"\r\n'
        b"DATABASE_URL=postgresql://ada:pw#1@db/x\r\n"
        b"TRANSACTION_FEE=#unset\r\n"
        b"LOG_LEVEL=\r\n"
    )

    settings = Settings.load({}, dotenv=dotenv)

    assert settings.port == 9000
    assert settings.host == "localhost"
    assert settings.app_name == "My Own Ledger"
    assert settings.schema == "books"
    assert settings.currency == "EUR"
    assert settings.database_url == "postgresql://ada:pw#1@db/x"
    assert settings.fee_percent == 2
    assert settings.log_level == "info"


def test_quotes_and_backslashes_can_be_written_in_a_quoted_value(tmp_path: Path) -> None:
    """A double-quoted value takes a backslash before a quote or a backslash, and keeps all other characters."""
    dotenv = tmp_path / ".env"
    dotenv.write_text(r'APP_NAME="The \"one\" \\ \n # ledger"', encoding="utf-8")

    assert Settings.load({}, dotenv=dotenv).app_name == r'The "one" \ \n # ledger'


def test_the_environment_wins_over_dotenv_and_empty_means_unset(tmp_path: Path) -> None:
    """A name set in both counts from the environment, in whatever case, unless it is empty there."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=9000\nHOST=0.0.0.0\n", encoding="utf-8")

    settings = Settings.load({"port": "9001", "HOST": ""}, dotenv=dotenv)

    assert settings.port == 9001
    assert settings.host == "0.0.0.0"  # noqa: S104


def test_capitals_win_when_a_name_is_set_in_two_spellings() -> None:
    """PORT is the documented spelling, so a stray `port` does not override it."""
    assert Settings.load({"PORT": "9000", "port": "9001"}).port == 9000
    assert Settings.load({"port": "9001", "PORT": "9000"}).port == 9000


def test_a_line_of_dotenv_that_is_none_is_named_by_its_number(tmp_path: Path) -> None:
    """A typing mistake in .env is not passed over, and the line, which may hold a password, is not repeated."""
    dotenv = tmp_path / ".env"
    dotenv.write_text('PORT=9000\nthis is s3cret\nHOST="s3cret\n', encoding="utf-8")

    first, second = problems_of({}, dotenv)

    assert first.startswith(".env, line 2,")
    assert second.startswith(".env, line 3,")
    assert "s3cret" not in first + second


def test_a_dotenv_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A missing or garbled file stops the start instead of leaving the defaults in force."""
    garbled = tmp_path / "garbled"
    garbled.write_bytes(b"PORT=\xff\xfe")

    assert problems_of({}, garbled) == ("garbled cannot be read as UTF-8 text: UnicodeDecodeError",)
    assert problems_of({}, tmp_path / "none") == ("none cannot be read as UTF-8 text: FileNotFoundError",)


def test_a_relative_data_directory_counts_from_dotenv_else_from_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data is found from whatever directory a command is started in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ada")
    folder = tmp_path / "settings"
    folder.mkdir()
    dotenv = folder / ".env"
    dotenv.write_text("LEDGER_DATA_DIR=my data\n", encoding="utf-8")

    assert Settings.load({}, dotenv=dotenv).data_dir == folder / "my data"
    assert Settings.load({}, dotenv=Path("settings/.env")).data_dir == folder / "my data"
    assert Settings.load({"LEDGER_DATA_DIR": "other"}).data_dir == CHECKOUT / "other"
    assert Settings.load({"LEDGER_DATA_DIR": "~/ledger"}).data_dir == Path("/home/ada/ledger")


def test_dotenv_is_looked_for_where_a_command_starts_and_then_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer file is taken, and none is fine too."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr("api.settings.dotenv.CHECKOUT", checkout)
    assert find_dotenv(elsewhere) is None

    (checkout / ".env").touch()
    assert find_dotenv(elsewhere) == checkout / ".env"

    (elsewhere / ".env").touch()
    assert find_dotenv(elsewhere) == elsewhere / ".env"


@pytest.mark.parametrize(
    ("environ", "field", "expected"),
    [
        ({"GATEWAY_SETTLE_SECONDS": "7"}, "gateway_inquiry_delay_seconds", 7.0),
        ({"gateway_settle_seconds": "7"}, "gateway_inquiry_delay_seconds", 7.0),
        ({"DEMO_GATEWAY_CHAOS_SEED": "0"}, "demo_gateway_kind", "chaos"),
        ({"DEMO_GATEWAY_CHAOS_SEED": "0"}, "demo_gateway_seed", 0),
        ({"DEMO_GATEWAY_CHAOS_SEED": ""}, "demo_gateway_kind", "demo"),
    ],
)
def test_an_old_name_still_counts(environ: dict[str, str], field: str, expected: object) -> None:
    """Nobody has to change a `.env` of an earlier version."""
    reading = Settings.read(environ)

    assert expected == getattr(Settings.of(reading), field)
    assert reading.warnings == []


def test_a_new_name_takes_precedence_over_the_old_one_and_a_warning_says_so(tmp_path: Path) -> None:
    """Also when the old name stands in the environment and the new one in `.env`."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("GATEWAY_INQUIRY_DELAY_SECONDS=3\n", encoding="utf-8")

    reading = Settings.read({"GATEWAY_SETTLE_SECONDS": "7"}, dotenv=dotenv)

    assert Settings.of(reading).gateway_inquiry_delay_seconds == 3.0
    (warning,) = reading.warnings
    assert warning.startswith("GATEWAY_SETTLE_SECONDS has no effect, because GATEWAY_INQUIRY_DELAY_SECONDS is set")


def test_an_old_name_that_has_no_effect_is_not_judged() -> None:
    """It cannot be wrong."""
    settings = Settings.load({"GATEWAY_SETTLE_SECONDS": "x", "GATEWAY_INQUIRY_DELAY_SECONDS": "3"})

    assert settings.gateway_inquiry_delay_seconds == 3.0


def test_the_kind_of_the_demo_gateway_takes_precedence_over_the_old_chaos_seed() -> None:
    """Then the seed is that of the new name."""
    reading = Settings.read({"DEMO_GATEWAY_CHAOS_SEED": "9", "DEMO_GATEWAY_KIND": "chaos", "DEMO_GATEWAY_SEED": "4"})

    settings = Settings.of(reading)
    assert (settings.demo_gateway_kind, settings.demo_gateway_seed) == ("chaos", 4)
    assert [warning.split()[0] for warning in reading.warnings] == ["DEMO_GATEWAY_CHAOS_SEED"]


def test_the_old_chaos_seed_is_the_seed_even_beside_one_for_the_demo_gateway() -> None:
    """As in earlier versions, where the demo gateway's seed did not count for the chaos gateway; a warning says so."""
    reading = Settings.read({"DEMO_GATEWAY_CHAOS_SEED": "9", "DEMO_GATEWAY_SEED": "4"})

    settings = Settings.of(reading)
    assert (settings.demo_gateway_kind, settings.demo_gateway_seed) == ("chaos", 9)
    (warning,) = reading.warnings
    assert warning.startswith("DEMO_GATEWAY_SEED has no effect, because DEMO_GATEWAY_CHAOS_SEED is set")
    assert "DEMO_GATEWAY_KIND" in warning


def test_each_value_is_read_with_where_it_comes_from(tmp_path: Path) -> None:
    """The environment, `.env` or the default, and the old name if it was one."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("PORT=9000\nHOST=0.0.0.0\nDEMO_GATEWAY_CHAOS_SEED=3\n", encoding="utf-8")

    sources = Settings.read(
        {"host": "localhost", "GATEWAY_SETTLE_SECONDS": "7", "APP_NAME": " "}, dotenv=dotenv
    ).sources

    assert sources["PORT"] == Source(place=".env")
    assert sources["HOST"] == Source(place="environment")
    assert sources["APP_NAME"] == Source(place="default")
    assert sources["GATEWAY_INQUIRY_DELAY_SECONDS"] == Source(place="environment", old_name="GATEWAY_SETTLE_SECONDS")
    assert sources["DEMO_GATEWAY_KIND"] == Source(place=".env", old_name="DEMO_GATEWAY_CHAOS_SEED")
