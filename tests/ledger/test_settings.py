"""Settings: what each name accepts, where values come from, and that everything wrong is named at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from ledger.settings import CHECKOUT, Settings, SettingsError, find_dotenv


def problems_of(environ: dict[str, str], dotenv: Path | None = None) -> tuple[str, ...]:
    """Load settings that are wrong and give what was said about them."""
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ, dotenv=dotenv)
    return raised.value.problems


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    """Every setting has a default, so that nothing has to be configured to try the service."""
    settings = Settings.load({})

    assert settings == Settings(
        database_url=None,
        data_dir=CHECKOUT / "var",
        schema="ledger",
        auto_create_tables=False,
        host="127.0.0.1",
        port=8000,
        app_name="Payment Ledger",
        log_level="info",
        currency="USD",
        fee_percent=Decimal(2),
        writer_batch_max=500,
        writer_queue_max=10_000,
        payment_gateway_url=None,
        gateway_timeout_seconds=1.0,
        gateway_max_attempts=3,
        gateway_backoff_base_seconds=1.0,
        gateway_backoff_max_seconds=30.0,
        gateway_backoff_jitter_seconds=0.5,
        gateway_inquiry=True,
        gateway_settle_seconds=5.0,
        worker_concurrency=64,
        worker_poll_interval_seconds=0.5,
        worker_processing_timeout_seconds=30.0,
        demo_gateway_host="127.0.0.1",
        demo_gateway_port=8001,
        demo_gateway_error_rate=0.25,
        demo_gateway_timeout_rate=0.10,
        demo_gateway_seed=None,
        demo_gateway_chaos_seed=None,
    )


def test_tables_are_made_by_themselves_only_under_serve() -> None:
    """AUTO_CREATE_TABLES is true under serve, else false, unless somebody says otherwise."""
    assert Settings.load({}, command="serve").auto_create_tables
    assert not Settings.load({}, command="api").auto_create_tables
    assert not Settings.load({"AUTO_CREATE_TABLES": "false"}, command="serve").auto_create_tables
    assert Settings.load({"AUTO_CREATE_TABLES": "true"}, command="api").auto_create_tables


@pytest.mark.parametrize(
    ("name", "text", "field", "expected"),
    [
        ("PORT", "65535", "port", 65_535),
        ("HOST", "::1", "host", "::1"),
        ("LOG_LEVEL", "WARN", "log_level", "warning"),
        ("LOG_LEVEL", "Debug", "log_level", "debug"),
        ("LEDGER_CURRENCY", "eur", "currency", "EUR"),
        ("LEDGER_SCHEMA", "a" * 40, "schema", "a" * 40),
        ("GATEWAY_INQUIRY", "Off", "gateway_inquiry", False),
        ("GATEWAY_INQUIRY", "YES", "gateway_inquiry", True),
        ("GATEWAY_TIMEOUT_SECONDS", ".5", "gateway_timeout_seconds", 0.5),
        ("GATEWAY_BACKOFF_BASE_SECONDS", "0", "gateway_backoff_base_seconds", 0.0),
        ("DEMO_GATEWAY_ERROR_RATE", "0", "demo_gateway_error_rate", 0.0),
        ("DEMO_GATEWAY_SEED", "7", "demo_gateway_seed", 7),
        ("DEMO_GATEWAY_CHAOS_SEED", "0", "demo_gateway_chaos_seed", 0),
        ("TRANSACTION_FEE", "0", "fee_rate_ppm", 0),
        ("TRANSACTION_FEE", "100", "fee_rate_ppm", 1_000_000),
        ("TRANSACTION_FEE", "0.0001", "fee_rate_ppm", 1),
        ("TRANSACTION_FEE", "1.75000000", "fee_rate_ppm", 17_500),
        ("LEDGER_DATA_DIR", "/srv/ledger", "data_dir", Path("/srv/ledger")),
        ("PAYMENT_GATEWAY_URL", "https://pay.example/v1/", "payment_gateway_url", "https://pay.example/v1"),
    ],
)
def test_a_setting_is_read_exactly(name: str, text: str, field: str, expected: object) -> None:
    """Each value arrives as what it means, without rounding."""
    actual = getattr(Settings.load({name: text}), field)

    assert expected == actual
    assert type(expected) is type(actual) or isinstance(expected, Path)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PORT", "0", "a whole number from 1 to 65535"),
        ("PORT", "65536", "a whole number from 1 to 65535"),
        ("PORT", "8_000", "a whole number"),
        ("PORT", "٨٠٠٠", "a whole number"),
        ("WORKER_CONCURRENCY", "many", "a whole number"),
        ("WRITER_QUEUE_MAX", "999", "a whole number from 1000 to 1000000"),
        ("GATEWAY_TIMEOUT_SECONDS", "0", "a number of seconds from 0.001"),
        ("GATEWAY_TIMEOUT_SECONDS", "nan", "a number of seconds"),
        ("GATEWAY_TIMEOUT_SECONDS", "1e3", "a number of seconds"),
        ("GATEWAY_SETTLE_SECONDS", "-1", "a number of seconds from 0"),
        ("GATEWAY_BACKOFF_JITTER_SECONDS", "86401", "to 86400"),
        ("DEMO_GATEWAY_ERROR_RATE", "1.01", "a share from 0 to 1"),
        ("DEMO_GATEWAY_TIMEOUT_RATE", "10%", "a share from 0 to 1"),
        ("TRANSACTION_FEE", "100.0001", "a percentage from 0 to 100"),
        ("TRANSACTION_FEE", "-1", "a percentage from 0 to 100"),
        ("TRANSACTION_FEE", "1.00001", "at most 4 decimals"),
        ("TRANSACTION_FEE", "2,5", "a percentage"),
        ("AUTO_CREATE_TABLES", "maybe", "true or false"),
        ("LOG_LEVEL", "loud", "debug, info, warning, error or critical"),
        ("LEDGER_CURRENCY", "XYZ", "an ISO 4217 currency code"),
        ("LEDGER_SCHEMA", "a" * 41, "at most 40 characters"),
        ("LEDGER_SCHEMA", "Ledger", "small letters"),
        ("LEDGER_SCHEMA", 'ledger"; DROP', "small letters"),
        ("LEDGER_SCHEMA", "pg_ledger", "not taken by Postgres"),
        ("LEDGER_SCHEMA", "demo_gateway", "the demo gateway"),
        ("HOST", "local host", "a host name or an address"),
        ("PAYMENT_GATEWAY_URL", "ftp://pay.example", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "pay.example:80", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example:port/", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example/?key=1", "without query"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example/a b", "a URL such as"),
        ("DATABASE_URL", "sqlite:///ledger.db", "a URL such as postgresql://"),
        ("DATABASE_URL", "postgresql://localhost/ledger?pool_size=3", "parameters that libpq knows"),
        ("DATABASE_URL", "postgresql://localhost/ledger?ssl=perhaps", "ssl='perhaps'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, text: str, expected: str) -> None:
    """Whoever starts the service learns which setting is wrong and what it takes."""
    (problem,) = problems_of({name: text})

    assert problem.startswith(f"{name} ")
    assert expected in problem


def test_everything_wrong_is_named_at_once() -> None:
    """One start is enough to learn of all mistakes, also of those in .env."""
    with pytest.raises(SettingsError) as raised:
        Settings.load({"PORT": "x", "LOG_LEVEL": "y", "GATEWAY_INQUIRY": "z"})

    first, *lines = str(raised.value).split("\n")
    assert first == "Some settings are not what they have to be, and nothing was started."
    assert [line.split()[0] for line in lines] == ["PORT", "LOG_LEVEL", "GATEWAY_INQUIRY"]


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (
            {"WORKER_PROCESSING_TIMEOUT_SECONDS": "1", "GATEWAY_TIMEOUT_SECONDS": "1"},
            "WORKER_PROCESSING_TIMEOUT_SECONDS",
        ),
        ({"GATEWAY_BACKOFF_MAX_SECONDS": "0.5"}, "GATEWAY_BACKOFF_MAX_SECONDS"),
        ({"DEMO_GATEWAY_ERROR_RATE": "0.95"}, "DEMO_GATEWAY_ERROR_RATE"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], named: str) -> None:
    """A value that is good alone and wrong beside another is named as well."""
    (problem,) = problems_of(environ)

    assert problem.startswith(named)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://ada:pw@db:5432/ledger", "postgresql://ada:pw@db:5432/ledger"),
        ("postgres://db/ledger", "postgresql://db/ledger"),
        ("postgresql+asyncpg://ada:p%40w@db/ledger", "postgresql://ada:p%40w@db/ledger"),
        ("PostgreSQL+psycopg2://db/ledger", "postgresql://db/ledger"),
        ("postgresql:///ledger?host=/run/postgresql", "postgresql:///ledger?host=/run/postgresql"),
        ("postgresql+asyncpg://a,b:5433/ledger?ssl=true", "postgresql://a,b:5433/ledger?sslmode=require"),
        ("postgresql://db/ledger?ssl=require", "postgresql://db/ledger?sslmode=require"),
        ("postgresql://db/ledger?ssl=False", "postgresql://db/ledger?sslmode=disable"),
        (
            "postgresql://db/x?ssl=verify_full&connect_timeout=3",
            "postgresql://db/x?sslmode=verify-full&connect_timeout=3",
        ),
        ("postgresql://ada:why?@db/ledger", "postgresql://ada:why?@db/ledger"),
    ],
)
def test_a_database_url_may_be_spelled_for_other_libraries(given: str, expected: str) -> None:
    """The original's URL, made for asyncpg, reaches the same database."""
    assert expected == Settings.load({"DATABASE_URL": given}).database_url


@pytest.mark.parametrize(
    "url", ["postgresql://ada:s3/cret@db/ledger", "mysql://ada:s3/cret@db", "postgresql://ada:s3%cret@db/x"]
)
def test_no_password_is_ever_repeated(url: str) -> None:
    """Neither what is said about a wrong URL nor the settings' repr shows a part of the password."""
    said = "".join(problems_of({"DATABASE_URL": url}))
    gateway = "".join(problems_of({"PAYMENT_GATEWAY_URL": "http://me:s3cret@"}))
    shown = repr(
        Settings.load(
            {"DATABASE_URL": "postgresql://u:s3cret@db/x", "PAYMENT_GATEWAY_URL": "http://u:s3cret@pay.example"}
        )
    )

    for text in (said, gateway, shown):
        assert "s3" not in text
        assert "cret" not in text


@pytest.mark.parametrize(
    ("environ", "demo", "base"),
    [
        ({}, True, "http://127.0.0.1:8001"),
        ({"PAYMENT_GATEWAY_URL": " "}, True, "http://127.0.0.1:8001"),
        ({"PAYMENT_GATEWAY_URL": "http://localhost:8000/api/v1/mock-gateway"}, True, "http://127.0.0.1:8001"),
        ({"PAYMENT_GATEWAY_URL": "http://127.0.0.1:8000/api/v1/mock-gateway/"}, True, "http://127.0.0.1:8001"),
        ({"PAYMENT_GATEWAY_URL": "http://api:8000/api/v1/mock-gateway"}, True, "http://127.0.0.1:8001"),
        (
            {"HOST": "Ledger.example", "PAYMENT_GATEWAY_URL": "http://ledger.example:8000/api/v1/mock-gateway"},
            True,
            None,
        ),
        ({"PORT": "80", "PAYMENT_GATEWAY_URL": "http://localhost/api/v1/mock-gateway"}, True, None),
        ({"DEMO_GATEWAY_HOST": "gateway", "DEMO_GATEWAY_PORT": "9001"}, True, "http://gateway:9001"),
        ({"DEMO_GATEWAY_HOST": "::"}, True, "http://127.0.0.1:8001"),
        ({"DEMO_GATEWAY_HOST": "::1"}, True, "http://[::1]:8001"),
        ({"PAYMENT_GATEWAY_URL": "http://localhost:9000/api/v1/mock-gateway"}, False, None),
        ({"PAYMENT_GATEWAY_URL": "http://localhost:8000/api/v2"}, False, "http://localhost:8000/api/v2"),
        ({"PAYMENT_GATEWAY_URL": "https://pay.example/api/v1/mock-gateway"}, False, None),
    ],
)
def test_the_demo_gateway_serves_when_no_other_is_named(environ: dict[str, str], demo: bool, base: str | None) -> None:  # noqa: FBT001
    """Unset, empty and the service's own mock gateway mean the demo gateway; anything else is called as it is."""
    settings = Settings.load(environ)

    assert demo == settings.demo_gateway
    assert (base or ("http://127.0.0.1:8001" if demo else environ["PAYMENT_GATEWAY_URL"])) == settings.gateway_base_url


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


def test_names_of_the_original_service_are_accepted_without_effect() -> None:
    """The original's .env can be taken over as it is."""
    original = {
        "APP_ENV": "prod",
        "APP_VERSION": "9",
        "DEBUG": "not even a boolean",
        "DB_POOL_SIZE": "x",
        "CELERY_BROKER_URL": "amqp://",
    }

    assert Settings.load(original) == Settings.load({})


def test_dotenv_is_looked_for_where_a_command_starts_and_then_in_the_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer file is taken, and none is fine too."""
    checkout, elsewhere = tmp_path / "checkout", tmp_path / "elsewhere"
    checkout.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr("ledger.settings.CHECKOUT", checkout)
    assert find_dotenv(elsewhere) is None

    (checkout / ".env").touch()
    assert find_dotenv(elsewhere) == checkout / ".env"

    (elsewhere / ".env").touch()
    assert find_dotenv(elsewhere) == elsewhere / ".env"


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    """Copying .env.example to .env changes nothing, and no setting is missing from it."""
    example = CHECKOUT / ".env.example"
    names = {line.partition("=")[0].lower() for line in example.read_text("utf-8").splitlines() if "=" in line}
    renamed = {"data_dir": "ledger_data_dir", "schema": "ledger_schema", "currency": "ledger_currency"}
    fields = {renamed.get(field, field).replace("fee_percent", "transaction_fee") for field in Settings.__annotations__}

    assert Settings.load({}, dotenv=example) == Settings.load({})
    assert fields <= names
