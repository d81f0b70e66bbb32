"""Settings: what each name accepts, and that everything wrong is named at once."""

from decimal import Decimal
from pathlib import Path

import pytest

from api.settings import CHECKOUT, Settings, SettingsError
from tests.api.settings.problems import problems_of


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    """Every setting has a default, so people can try the service without configuring anything."""
    settings = Settings.load({})

    assert settings == Settings(
        database_url=None,
        data_dir=CHECKOUT / "var",
        wal_archive_dir=None,
        schema="ledger",
        partitions=1,
        partition_urls=None,
        admin_url=None,
        allow_loss_of_commits=False,
        auto_create_tables=False,
        host="127.0.0.1",
        port=8000,
        auth="loopback",
        metrics_host="127.0.0.1",
        worker_metrics_port=0,
        projector_metrics_port=0,
        http_keep_alive_seconds=75,
        ssl_certificate=None,
        ssl_key=None,
        cors_origins=None,
        strict_input=True,
        app_name="Payment Ledger",
        log_level="info",
        currency="USD",
        fee_percent=Decimal(2),
        writer_batch_max=500,
        writer_queue_max=10_000,
        payment_gateway_url=None,
        gateway_ca_file=None,
        gateway_cert_file=None,
        gateway_key_file=None,
        gateway_timeout_seconds=1.0,
        gateway_max_attempts=3,
        gateway_backoff_base_seconds=1.0,
        gateway_backoff_max_seconds=30.0,
        gateway_backoff_jitter_seconds=0.5,
        gateway_breaker_failures=20,
        gateway_breaker_probe_seconds=5.0,
        gateway_outage_patience_seconds=3600.0,
        gateway_currencies=frozenset(),
        gateway_inquiry=True,
        gateway_inquiry_delay_seconds=None,
        gateway_late_inquiry_seconds=(3600.0, 86400.0),
        worker_concurrency=64,
        worker_poll_interval_seconds=0.5,
        worker_processing_timeout_seconds=30.0,
        demo_gateway_allowed=False,
        demo_gateway_kind="demo",
        demo_gateway_host="127.0.0.1",
        demo_gateway_port=8001,
        demo_gateway_error_rate=0.25,
        demo_gateway_timeout_rate=0.10,
        demo_gateway_seed=None,
        operate_four_eyes=False,
        limit_requests_per_second=0,
        limit_payments_per_minute=0,
        limit_store_url=None,
        limit_waiting_payments=0,
        limit_requests_at_once=256,
        limit_connections=4096,
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
        ("LEDGER_PARTITIONS", "4", "partitions", 4),
        ("LEDGER_PARTITIONS", "1024", "partitions", 1024),
        ("GATEWAY_INQUIRY", "Off", "gateway_inquiry", False),
        ("GATEWAY_INQUIRY", "YES", "gateway_inquiry", True),
        ("GATEWAY_TIMEOUT_SECONDS", ".5", "gateway_timeout_seconds", 0.5),
        ("GATEWAY_BACKOFF_BASE_SECONDS", "0", "gateway_backoff_base_seconds", 0.0),
        ("DEMO_GATEWAY_ERROR_RATE", "0", "demo_gateway_error_rate", 0.0),
        ("DEMO_GATEWAY_SEED", "7", "demo_gateway_seed", 7),
        ("DEMO_GATEWAY_KIND", "Demo", "demo_gateway_kind", "demo"),
        ("GATEWAY_INQUIRY_DELAY_SECONDS", "2", "gateway_inquiry_delay_seconds", 2.0),
        ("GATEWAY_LATE_INQUIRY_SECONDS", "60,3600 7200.5", "gateway_late_inquiry_seconds", (60.0, 3600.0, 7200.5)),
        ("GATEWAY_LATE_INQUIRY_SECONDS", "None", "gateway_late_inquiry_seconds", ()),
        ("GATEWAY_CURRENCIES", "usd, EUR", "gateway_currencies", frozenset({"USD", "EUR"})),
        ("GATEWAY_CURRENCIES", "ALL", "gateway_currencies", frozenset()),
        ("TRANSACTION_FEE", "0", "fee_rate_ppm", 0),
        ("TRANSACTION_FEE", "100", "fee_rate_ppm", 1_000_000),
        ("TRANSACTION_FEE", "0.0001", "fee_rate_ppm", 1),
        ("TRANSACTION_FEE", "1.75000000", "fee_rate_ppm", 17_500),
        ("CORS_ORIGINS", "https://a.example, http://b:8080,", "cors_origins", ("https://a.example", "http://b:8080")),
        ("CORS_ORIGINS", "*", "cors_origins", ("*",)),
        ("HTTP_KEEP_ALIVE_SECONDS", "0", "http_keep_alive_seconds", 0),
        ("GATEWAY_CA_FILE", "/etc/ca.pem", "gateway_ca_file", Path("/etc/ca.pem")),
        ("LEDGER_DATA_DIR", "/srv/ledger", "data_dir", Path("/srv/ledger")),
        (
            "LIMIT_STORE_URL",
            "rediss://:pw@cache.example:6380/3",
            "limit_store_url",
            "rediss://:pw@cache.example:6380/3",
        ),
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
        ("GATEWAY_INQUIRY_DELAY_SECONDS", "-1", "a number of seconds from 0"),
        ("GATEWAY_LATE_INQUIRY_SECONDS", "3600, 60", "times in seconds in ascending order"),
        ("GATEWAY_LATE_INQUIRY_SECONDS", "0", "times in seconds in ascending order"),
        ("GATEWAY_LATE_INQUIRY_SECONDS", "86401", "up to 86400"),
        ("GATEWAY_CURRENCIES", "USD, XXX", "ISO 4217 currency codes"),
        ("GATEWAY_SETTLE_SECONDS", "-1", "a number of seconds from 0"),
        ("DEMO_GATEWAY_KIND", "mess", "demo or chaos"),
        ("DEMO_GATEWAY_CHAOS_SEED", "-1", "a whole number from 0"),
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
        ("LEDGER_PARTITIONS", "0", "a power of two from 1 to 1024"),
        ("LEDGER_PARTITIONS", "3", "a power of two"),
        ("LEDGER_PARTITIONS", "2048", "a power of two"),
        ("LEDGER_PARTITIONS", "+2", "a power of two"),
        ("LEDGER_PARTITION_URLS", "a b", "separated by spaces"),
        ("LEDGER_SCHEMA", "Ledger", "small letters"),
        ("LEDGER_SCHEMA", 'ledger"; DROP', "small letters"),
        ("LEDGER_SCHEMA", "pg_ledger", "not taken by Postgres"),
        ("LEDGER_SCHEMA", "demo_gateway", "the demo gateway"),
        ("CORS_ORIGINS", "https://a.example/", "origins such as"),
        ("CORS_ORIGINS", "a.example", "origins such as"),
        ("CORS_ORIGINS", "https://*.example,ftp://b", "origins such as"),
        ("CORS_ORIGINS", "https://A.example", "small letters"),
        ("HTTP_KEEP_ALIVE_SECONDS", "3601", "a whole number from 0 to 3600"),
        ("HOST", "local host", "a host name or an address"),
        ("PAYMENT_GATEWAY_URL", "ftp://pay.example", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "pay.example:80", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example:port/", "a URL such as"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example/?key=1", "without query"),
        ("PAYMENT_GATEWAY_URL", "http://pay.example/a b", "a URL such as"),
        ("LIMIT_STORE_URL", "http://127.0.0.1:6379", "a URL such as redis://"),
        ("LIMIT_STORE_URL", "redis://", "a URL such as redis://"),
        ("LIMIT_STORE_URL", "redis://127.0.0.1/name", "a URL such as redis://"),
        ("LIMIT_STORE_URL", "redis://127.0.0.1:port/0", "a URL such as redis://"),
        ("LIMIT_REQUESTS_AT_ONCE", "0", "a whole number from 1"),
        ("DATABASE_URL", "sqlite:///ledger.db", "a URL such as postgresql://"),
        ("DATABASE_URL", "postgresql://localhost/ledger?pool_size=3", "parameters that libpq knows"),
        ("DATABASE_URL", "postgresql://localhost/ledger?ssl=perhaps", "ssl='perhaps'"),
    ],
)
def test_a_wrong_value_is_named_with_what_was_expected(name: str, text: str, expected: str) -> None:
    """The message says which setting is wrong and what it takes."""
    (problem,) = problems_of({name: text})

    assert problem.startswith(f"{name} ")
    assert expected in problem


def test_everything_wrong_is_named_at_once() -> None:
    """One start is enough to learn of all mistakes, also of those in .env."""
    with pytest.raises(SettingsError) as raised:
        Settings.load({"PORT": "x", "LOG_LEVEL": "y", "GATEWAY_INQUIRY": "z"})

    first, *lines = str(raised.value).split("\n")
    assert first == "Some settings are wrong, and nothing was started."
    assert [line.split()[0] for line in lines] == ["PORT", "LOG_LEVEL", "GATEWAY_INQUIRY"]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, 5.0),
        ({"GATEWAY_TIMEOUT_SECONDS": "4.5"}, 5.0),
        ({"GATEWAY_TIMEOUT_SECONDS": "10"}, 10.0),
        ({"GATEWAY_TIMEOUT_SECONDS": "10", "GATEWAY_INQUIRY_DELAY_SECONDS": "12"}, 12.0),
        ({"GATEWAY_INQUIRY_DELAY_SECONDS": "2"}, 2.0),
    ],
)
def test_an_inquiry_waits_for_a_whole_call_unless_told_otherwise(environ: dict[str, str], expected: float) -> None:
    """A `.env` of the original, which knew no inquiries, may allow a call any time."""
    assert Settings.load(environ).inquiry_delay_seconds == expected


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        (
            {"WORKER_PROCESSING_TIMEOUT_SECONDS": "1", "GATEWAY_TIMEOUT_SECONDS": "1"},
            "WORKER_PROCESSING_TIMEOUT_SECONDS",
        ),
        (
            {"GATEWAY_INQUIRY_DELAY_SECONDS": "0.9", "GATEWAY_TIMEOUT_SECONDS": "1"},
            "GATEWAY_INQUIRY_DELAY_SECONDS",
        ),
        ({"GATEWAY_BACKOFF_MAX_SECONDS": "0.5"}, "GATEWAY_BACKOFF_MAX_SECONDS"),
        ({"GATEWAY_KEY_FILE": "k.pem", "PAYMENT_GATEWAY_URL": "https://pay.example"}, "GATEWAY_KEY_FILE"),
        ({"GATEWAY_CA_FILE": "ca.pem", "PAYMENT_GATEWAY_URL": "http://pay.example"}, "GATEWAY_CA_FILE"),
        ({"DEMO_GATEWAY_ERROR_RATE": "0.95"}, "DEMO_GATEWAY_ERROR_RATE"),
        ({"DEMO_GATEWAY_KIND": "chaos"}, "DEMO_GATEWAY_SEED"),
        ({"LEDGER_PARTITION_URLS": "postgresql://a/x"}, "LEDGER_PARTITION_URLS"),
        (
            {"LEDGER_PARTITION_URLS": "postgresql://a/x postgresql://b/x", "DATABASE_URL": "postgresql://a/x"},
            "LEDGER_PARTITION_URLS has 2 URLs, and LEDGER_PARTITIONS is 1",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(environ: dict[str, str], named: str) -> None:
    """A value that is good alone and wrong beside another is named as well."""
    (problem,) = problems_of(environ)

    assert problem.startswith(named)


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


OWN_DATABASE = {"DATABASE_URL": "postgresql://db/ledger"}


@pytest.mark.parametrize("command", ["serve", "worker"])
@pytest.mark.parametrize("url", [{}, {"PAYMENT_GATEWAY_URL": ""}, {"PAYMENT_GATEWAY_URI": "https://pay.example"}])
def test_the_demo_gateway_has_to_be_asked_for_with_a_database_of_ones_own(command: str, url: dict[str, str]) -> None:
    """A mistyped name means that no gateway is named, and live payments would be approved without moving money."""
    with pytest.raises(SettingsError) as raised:
        Settings.load(OWN_DATABASE | url, command=command)

    (problem,) = raised.value.problems
    assert problem.startswith("PAYMENT_GATEWAY_URL is missing")
    assert "DEMO_GATEWAY=true" in problem


@pytest.mark.parametrize(
    ("environ", "demo"),
    [
        ({"DEMO_GATEWAY": "true"}, True),
        ({"PAYMENT_GATEWAY_URL": "http://api:8000/api/v1/mock-gateway"}, True),
        ({"PAYMENT_GATEWAY_URL": "https://pay.example"}, False),
        ({"PAYMENT_GATEWAY_URL": "https://pay.example", "DEMO_GATEWAY": "true"}, False),
    ],
)
def test_a_named_gateway_or_one_asked_for_starts_with_a_database_of_ones_own(
    environ: dict[str, str],
    demo: bool,  # noqa: FBT001 - a case of the table
) -> None:
    """The original's `.env` names its own mock gateway, which asks for the demo gateway. A real gateway wins."""
    settings = Settings.load(OWN_DATABASE | environ, command="serve")

    assert demo == settings.demo_gateway


@pytest.mark.parametrize("command", ["api", "projector", "migrate", "status", None])
def test_commands_that_call_no_gateway_need_none(command: str | None) -> None:
    """The API then has no address of the demo gateway."""
    assert not Settings.load(OWN_DATABASE, command=command).demo_gateway


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


def test_a_wrong_value_is_named_once_and_not_as_a_contradiction_too() -> None:
    """A seed that cannot be read is not missing."""
    (problem,) = problems_of({"DEMO_GATEWAY_KIND": "chaos", "DEMO_GATEWAY_SEED": "x"})

    assert problem.startswith("DEMO_GATEWAY_SEED has to be a whole number")


def test_wrong_values_and_contradictions_are_named_together(tmp_path: Path) -> None:
    """One start is enough to learn of all of them, whatever kind they are."""
    dotenv = tmp_path / ".env"
    dotenv.write_text("no assignment\n", encoding="utf-8")

    problems = problems_of({"PORT": "x", "GATEWAY_BACKOFF_MAX_SECONDS": "0.5"}, dotenv)

    assert [problem.split()[0] for problem in problems] == [".env,", "PORT", "GATEWAY_BACKOFF_MAX_SECONDS"]
