"""The table of settings: every name that the service reads from its environment.

The right-hand side of a field is its row. A new setting is one row here and the code that uses it; `make generated`
then writes `.env.example`, the environment of `docker-compose.yml` and the reference page, and a test fails when that
was forgotten.
"""

from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from api.settings.declaration import setting
from api.settings.parsers import (
    CURRENCIES,
    CURRENCY,
    DATABASE_URL,
    DATABASE_URLS,
    FEE_PERCENT,
    HOST,
    HTTP_URL,
    LATE_INQUIRIES,
    LOG_LEVEL,
    ORIGINS,
    PARTITIONS,
    PATH,
    SCHEMA,
    SHARE,
    SWITCH,
    TEXT,
    choice,
    seconds,
    whole,
)

SEED_MAX: Final = 2**63 - 1


@dataclass(frozen=True, kw_only=True)
class Table:
    """The rows, and the struct of their values; `Settings` is made of it. Secrets stay out of its repr."""

    database_url: str | None = setting(
        "DATABASE_URL",
        DATABASE_URL,
        None,
        "The URL of a Postgres 18. Unset: the embedded one, under `LEDGER_DATA_DIR`. `postgresql+asyncpg://` and"
        " `?ssl=` are understood too.",
        secret=True,
        compose=False,
        heading="database",
    )
    data_dir: Path = setting(
        "LEDGER_DATA_DIR",
        PATH,
        "./var",
        "Where the embedded Postgres keeps its data. A relative path counts from the folder of `.env`, else from the"
        " checkout.",
        compose=False,
    )
    wal_archive_dir: Path | None = setting(
        "WAL_ARCHIVE_DIR",
        PATH,
        None,
        "Where the embedded Postgres archives its WAL, so that `restore --to` can go back to a moment. It counts from"
        " the next start of that Postgres. Unset: nothing is archived. A relative path counts as in `LEDGER_DATA_DIR`.",
        compose=False,
    )
    schema: str = setting(
        "LEDGER_SCHEMA",
        SCHEMA,
        "ledger",
        "The schema that holds the ledger; of several partitions, `ledger_0` and so on.",
    )
    partitions: int = setting(
        "LEDGER_PARTITIONS",
        PARTITIONS,
        "1",
        "How many partitions the ledger has. A start with another number than the ledger's own is refused.",
        unit="partitions",
    )
    partition_urls: tuple[str, ...] | None = setting(
        "LEDGER_PARTITION_URLS",
        DATABASE_URLS,
        None,
        "The databases of the partitions in order, separated by spaces: one for each, or one for all. Unset:"
        " `DATABASE_URL` for all.",
        secret=True,
    )
    admin_url: str | None = setting(
        "LEDGER_ADMIN_URL",
        DATABASE_URL,
        None,
        "Where migrations, `rebuild`, import, export and whole audits go, in a database of several nodes: the"
        " coordinator, while `DATABASE_URL` names the node that owns the schema. Unset: `DATABASE_URL`.",
        secret=True,
    )
    allow_loss_of_commits: bool = setting(
        "ALLOW_LOSS_OF_COMMITS",
        SWITCH,
        "false",
        "true: the service also starts on a Postgres whose `fsync`, `full_page_writes` or `synchronous_commit` is off."
        " A crash of that Postgres may lose payments that were acknowledged.",
    )
    auto_create_tables: bool = setting(
        "AUTO_CREATE_TABLES",
        SWITCH,
        "false",
        "true: migrations are applied at start. false: the service only checks that there are none to apply.",
        serve_default="true",
        compose=False,
    )
    host: str = setting(
        "HOST", HOST, "127.0.0.1", "The address on which the API listens.", compose=False, heading="service"
    )
    port: int = setting("PORT", whole(1, 65_535), "8000", "The port on which the API listens.", compose=False)
    auth: Literal["loopback", "required", "off"] = setting(
        "AUTH",
        choice("loopback", "required", "off"),
        "loopback",
        "Who needs a key. `loopback`: nobody while `HOST` is a loopback address, everybody elsewhere. `required`:"
        " everybody. `off`: nobody, and none is looked at; something else decides who may call.",
        compose=False,
    )
    operate_four_eyes: bool = setting(
        "OPERATE_FOUR_EYES",
        SWITCH,
        "false",
        "true: a booking, and a decision against the gateway, waits until a second key approves it. It needs `AUTH`.",
    )
    metrics_host: str = setting(
        "METRICS_HOST",
        HOST,
        "127.0.0.1",
        "The address on which worker and projector serve their metrics. The API serves its own at /metrics.",
        compose=False,
    )
    worker_metrics_port: int = setting(
        "WORKER_METRICS_PORT",
        whole(0, 65_535),
        "0",
        "The port on which a worker serves its metrics for Prometheus; 0: none.",
        compose=False,
    )
    projector_metrics_port: int = setting(
        "PROJECTOR_METRICS_PORT",
        whole(0, 65_535),
        "0",
        "The port on which a projector serves its metrics for Prometheus; 0: none.",
        compose=False,
    )
    http_keep_alive_seconds: int = setting(
        "HTTP_KEEP_ALIVE_SECONDS",
        whole(0, 3_600),
        "75",
        "How long the API keeps an idle connection for further requests; 0: it closes each one after its answer. Set it"
        " longer than the proxy before the API keeps its own.",
        unit="seconds",
    )
    ssl_certificate: Path | None = setting(
        "SSL_CERTIFICATE",
        PATH,
        None,
        "A PEM file with the certificate of the API and its chain: then the API speaks TLS 1.2 and 1.3 and no plain"
        " HTTP. A relative path counts as in `LEDGER_DATA_DIR`.",
    )
    ssl_key: Path | None = setting(
        "SSL_KEY", PATH, None, "A PEM file with the key of `SSL_CERTIFICATE`, without a password."
    )
    cors_origins: tuple[str, ...] | None = setting(
        "CORS_ORIGINS",
        ORIGINS,
        None,
        "The sites whose pages may call the API from a browser, separated by commas. Unset: none. `*`: all.",
    )
    strict_input: bool = setting(
        "STRICT_INPUT",
        SWITCH,
        "true",
        "false: fields and parameters that a route does not know are ignored, as in the original, and not refused.",
    )
    log_level: str = setting("LOG_LEVEL", LOG_LEVEL, "info", "The log has lines of this level and above.")
    app_name: str = setting("APP_NAME", TEXT, "Payment Ledger", "The title of the API's documentation.")
    fee_percent: Decimal = setting(
        "TRANSACTION_FEE",
        FEE_PERCENT,
        "2",
        "The fee on the amount of a payment, rounded half up to a minor unit.",
        unit="percent",
        heading="money",
    )
    currency: str = setting("LEDGER_CURRENCY", CURRENCY, "USD", "The currency of accounts that name none.")
    payment_gateway_url: str | None = setting(
        "PAYMENT_GATEWAY_URL",
        HTTP_URL,
        None,
        "The base URL of the payment gateway; calls go to `/pay` below it. Our own `/api/v1/mock-gateway`: the demo"
        " gateway. Unset: the demo gateway too, if `DATABASE_URL` is unset or `DEMO_GATEWAY` allows it.",
        secret=True,
        heading="gateway",
    )
    gateway_ca_file: Path | None = setting(
        "GATEWAY_CA_FILE",
        PATH,
        None,
        "A PEM file with the certificate authorities that are trusted for the gateway, instead of the public ones. A"
        " relative path counts as in `LEDGER_DATA_DIR`.",
    )
    gateway_cert_file: Path | None = setting(
        "GATEWAY_CERT_FILE",
        PATH,
        None,
        "A PEM file with the certificate, and its chain, that the gateway asks of its clients.",
    )
    gateway_key_file: Path | None = setting(
        "GATEWAY_KEY_FILE",
        PATH,
        None,
        "A PEM file with the key of that certificate, without a password. Unset: the key is in `GATEWAY_CERT_FILE`.",
    )
    gateway_timeout_seconds: float = setting(
        "GATEWAY_TIMEOUT_SECONDS", seconds(0.001), "1.0", "The deadline over a whole call.", unit="seconds"
    )
    gateway_max_attempts: int = setting(
        "GATEWAY_MAX_ATTEMPTS", whole(1, 1000), "3", "How many calls are made in one series.", unit="calls"
    )
    gateway_backoff_base_seconds: float = setting(
        "GATEWAY_BACKOFF_BASE_SECONDS",
        seconds(0),
        "1.0",
        "The wait after attempt n is min(max, base * 2^(n-1)) + jitter; this is the base.",
        unit="seconds",
    )
    gateway_backoff_max_seconds: float = setting(
        "GATEWAY_BACKOFF_MAX_SECONDS",
        seconds(0),
        "30.0",
        "The longest wait between two calls, without the jitter; at least the base.",
        unit="seconds",
    )
    gateway_breaker_failures: int = setting(
        "GATEWAY_BREAKER_FAILURES",
        whole(0, 1_000_000),
        "20",
        "After so many calls in a row without an answer or with a 5xx, only single calls probe the gateway; 0: never.",
    )
    gateway_breaker_probe_seconds: float = setting(
        "GATEWAY_BREAKER_PROBE_SECONDS",
        seconds(0.1),
        "5.0",
        "How often the gateway is probed then.",
        unit="seconds",
    )
    gateway_outage_patience_seconds: float = setting(
        "GATEWAY_OUTAGE_PATIENCE_SECONDS",
        seconds(0),
        "3600",
        "For so long of an outage, a call that the gateway surely did not accept uses up no attempt. 0 counts each.",
        unit="seconds",
    )
    gateway_backoff_jitter_seconds: float = setting(
        "GATEWAY_BACKOFF_JITTER_SECONDS",
        seconds(0),
        "0.5",
        "A random time of up to this is added to each wait.",
        unit="seconds",
    )
    gateway_currencies: frozenset[str] = setting(
        "GATEWAY_CURRENCIES",
        CURRENCIES,
        "all",
        "The currencies that the gateway moves money in; a payment in another one is refused at its request.",
    )
    gateway_inquiry: bool = setting(
        "GATEWAY_INQUIRY",
        SWITCH,
        "true",
        "false only for a gateway that cannot be asked about a payment: then a payment whose outcome stays unknown"
        " fails, and one that is in doubt already is parked for an operator.",
    )
    gateway_inquiry_delay_seconds: float | None = setting(
        "GATEWAY_INQUIRY_DELAY_SECONDS",
        seconds(0),
        None,
        "The gateway is asked about a payment no sooner than this after the last call; at least"
        " `GATEWAY_TIMEOUT_SECONDS`. Unset: 5, or `GATEWAY_TIMEOUT_SECONDS` if that is longer.",
        unit="seconds",
    )
    gateway_late_inquiry_seconds: tuple[float, ...] = setting(
        "GATEWAY_LATE_INQUIRY_SECONDS",
        LATE_INQUIRIES,
        "3600, 86400",
        "How long after its failure the gateway is asked again about a payment that it has not declined.",
        unit="seconds",
    )
    worker_concurrency: int = setting(
        "WORKER_CONCURRENCY",
        whole(1, 10_000),
        "64",
        "How many calls of the gateway one worker makes at a time.",
        unit="calls",
        heading="worker and writer",
    )
    worker_poll_interval_seconds: float = setting(
        "WORKER_POLL_INTERVAL_SECONDS",
        seconds(0.001),
        "0.5",
        "How often a worker or projector looks for work that no notification announced.",
        unit="seconds",
    )
    worker_processing_timeout_seconds: float = setting(
        "WORKER_PROCESSING_TIMEOUT_SECONDS",
        seconds(0.001),
        "30.0",
        "The lease that a worker takes on a payment before it calls; longer than `GATEWAY_TIMEOUT_SECONDS`.",
        unit="seconds",
    )
    writer_batch_max: int = setting(
        "WRITER_BATCH_MAX", whole(1, 10_000), "500", "How many commands go into one transaction.", unit="commands"
    )
    # The payments of a batch wait together, so a queue shorter than a full batch would refuse it every time.
    writer_queue_max: int = setting(
        "WRITER_QUEUE_MAX",
        whole(1_000, 1_000_000),
        "10000",
        "How many commands may wait before callers get a 503.",
        unit="commands",
    )
    demo_gateway_allowed: bool = setting(
        "DEMO_GATEWAY",
        SWITCH,
        "false",
        "true: the demo gateway serves when `PAYMENT_GATEWAY_URL` is unset, also with a `DATABASE_URL`. false: `serve`"
        " and `worker` then do not start. With the embedded Postgres it serves in both cases.",
        compose=False,
        heading="demo gateway",
    )
    demo_gateway_kind: Literal["demo", "chaos"] = setting(
        "DEMO_GATEWAY_KIND",
        choice("demo", "chaos"),
        "demo",
        "The gateway that serves when no real one is named: `demo` has errors and time-outs at the rates below, `chaos`"
        " does everything that gateways do wrong.",
    )
    demo_gateway_seed: int | None = setting(
        "DEMO_GATEWAY_SEED",
        whole(0, SEED_MAX),
        None,
        "The same seed brings the same behaviour again. `chaos` needs one; without one, `demo` behaves differently each"
        " time.",
    )
    demo_gateway_error_rate: float = setting(
        "DEMO_GATEWAY_ERROR_RATE", SHARE, "0.25", "The share of calls that `demo` answers with 502.", unit="share"
    )
    demo_gateway_timeout_rate: float = setting(
        "DEMO_GATEWAY_TIMEOUT_RATE", SHARE, "0.10", "The share of calls that `demo` answers too late.", unit="share"
    )
    demo_gateway_host: str = setting(
        "DEMO_GATEWAY_HOST",
        HOST,
        "127.0.0.1",
        "The address on which the demo gateway listens and the other parts find it.",
        compose=False,
    )
    demo_gateway_port: int = setting(
        "DEMO_GATEWAY_PORT", whole(1, 65_535), "8001", "The port on which the demo gateway listens.", compose=False
    )
