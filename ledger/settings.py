"""The settings: every name the service reads from its environment, with its default and what it accepts.

`Settings.load` is a function of an environment, a `.env` file and the command that runs, and of nothing else. It reads
every name before it complains, so that one start names all that is wrong, and it never repeats a value that may hold a
password. The environment wins over `.env`, names count in any case, and an empty value means that the name is not set.

`APP_ENV`, `APP_VERSION`, `DEBUG`, `DB_*` and `CELERY_*` belong to the original service; they may stand in a `.env` and
have no effect here, like any other name that is not in `Settings.load`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from ledger.errors import LedgerError
from ledger.money import CURRENCY_DECIMALS, FEE_RATE_PPM_MAX

CHECKOUT: Final = Path(__file__).resolve().parent.parent

SEED_MAX: Final = 2**63 - 1

_PPM_IN_A_PERCENT: Final = FEE_RATE_PPM_MAX // 100
_FEE_DECIMALS_MAX: Final = 4  # a percentage with four decimals is a whole number of millionths
_SCHEMA_CHARACTERS_MAX: Final = 40  # Postgres cuts names at 63, and names of roles are made from this one
_PLAIN_NUMBER: Final = r"[0-9]{1,9}(\.[0-9]{1,18})?|\.[0-9]{1,18}"
_SECONDS_MAX: Final = 86_400.0
_MOCK_GATEWAY_PATH: Final = "/api/v1/mock-gateway"
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised here, nothing is bound to it
_OWN_NAMES: Final = _ANY_ADDRESS | {"localhost", "127.0.0.1", "::1", "api"}  # api: the service's name under compose
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})

T = TypeVar("T")


@dataclass(eq=False, kw_only=True)
class SettingsError(LedgerError):
    """Some settings are not what they have to be, and nothing was started."""

    code = "settings_wrong"
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """List every wrong setting on a line of its own, for whoever has just started the service."""
        return "\n".join((self.message, *(f"  {problem}" for problem in self.problems)))


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What the environment says, checked. URLs stay out of its repr, because they may hold passwords."""

    # the database; without a URL the embedded Postgres of the data directory serves
    database_url: str | None = field(repr=False)
    data_dir: Path
    schema: str
    auto_create_tables: bool

    # the service
    host: str
    port: int
    app_name: str
    log_level: str

    # money
    currency: str
    fee_percent: Decimal

    # the writer
    writer_batch_max: int
    writer_queue_max: int

    # the gateway, as it is called
    payment_gateway_url: str | None = field(repr=False)
    gateway_timeout_seconds: float
    gateway_max_attempts: int
    gateway_backoff_base_seconds: float
    gateway_backoff_max_seconds: float
    gateway_backoff_jitter_seconds: float
    gateway_inquiry: bool
    gateway_settle_seconds: float

    # the worker
    worker_concurrency: int
    worker_poll_interval_seconds: float
    worker_processing_timeout_seconds: float

    # the demo gateway
    demo_gateway_host: str
    demo_gateway_port: int
    demo_gateway_error_rate: float
    demo_gateway_timeout_rate: float
    demo_gateway_seed: int | None
    demo_gateway_chaos_seed: int | None

    @classmethod
    def load(cls, environ: Mapping[str, str], *, dotenv: Path | None = None, command: str | None = None) -> "Settings":
        """Read the settings for a command (`serve`, `api`, ...) from an environment and a `.env` file, if any.

        Raises SettingsError, which names everything that is wrong.
        """
        problems: list[str] = []
        values = (_read_dotenv(dotenv, problems) if dotenv else {}) | _set_names(environ)
        read = _Reader(values, problems)
        beside = dotenv.resolve().parent if dotenv else CHECKOUT
        settings = cls(
            database_url=read("DATABASE_URL", _database_url, None),
            data_dir=beside / Path(read("LEDGER_DATA_DIR", str, "var")).expanduser(),
            schema=read("LEDGER_SCHEMA", _schema, "ledger"),
            auto_create_tables=read("AUTO_CREATE_TABLES", _switch, command == "serve"),
            host=read("HOST", _host, "127.0.0.1"),
            port=read("PORT", _whole(1, 65_535), 8000),
            app_name=read("APP_NAME", str, "Payment Ledger"),
            log_level=read("LOG_LEVEL", _log_level, "info"),
            currency=read("LEDGER_CURRENCY", _currency, "USD"),
            fee_percent=read("TRANSACTION_FEE", _fee_percent, Decimal(2)),
            writer_batch_max=read("WRITER_BATCH_MAX", _whole(1, 10_000), 500),
            # The payments of a batch wait together: a full one that never fits would be put off for ever.
            writer_queue_max=read("WRITER_QUEUE_MAX", _whole(1_000, 1_000_000), 10_000),
            payment_gateway_url=read("PAYMENT_GATEWAY_URL", _http_url, None),
            gateway_timeout_seconds=read("GATEWAY_TIMEOUT_SECONDS", _seconds(0.001), 1.0),
            gateway_max_attempts=read("GATEWAY_MAX_ATTEMPTS", _whole(1, 1000), 3),
            gateway_backoff_base_seconds=read("GATEWAY_BACKOFF_BASE_SECONDS", _seconds(0), 1.0),
            gateway_backoff_max_seconds=read("GATEWAY_BACKOFF_MAX_SECONDS", _seconds(0), 30.0),
            gateway_backoff_jitter_seconds=read("GATEWAY_BACKOFF_JITTER_SECONDS", _seconds(0), 0.5),
            gateway_inquiry=read("GATEWAY_INQUIRY", _switch, default=True),
            gateway_settle_seconds=read("GATEWAY_SETTLE_SECONDS", _seconds(0), 5.0),
            worker_concurrency=read("WORKER_CONCURRENCY", _whole(1, 10_000), 64),
            worker_poll_interval_seconds=read("WORKER_POLL_INTERVAL_SECONDS", _seconds(0.001), 0.5),
            worker_processing_timeout_seconds=read("WORKER_PROCESSING_TIMEOUT_SECONDS", _seconds(0.001), 30.0),
            demo_gateway_host=read("DEMO_GATEWAY_HOST", _host, "127.0.0.1"),
            demo_gateway_port=read("DEMO_GATEWAY_PORT", _whole(1, 65_535), 8001),
            demo_gateway_error_rate=read("DEMO_GATEWAY_ERROR_RATE", _share, 0.25),
            demo_gateway_timeout_rate=read("DEMO_GATEWAY_TIMEOUT_RATE", _share, 0.10),
            demo_gateway_seed=read("DEMO_GATEWAY_SEED", _whole(0, SEED_MAX), None),
            demo_gateway_chaos_seed=read("DEMO_GATEWAY_CHAOS_SEED", _whole(0, SEED_MAX), None),
        )
        problems.extend(settings._contradictions())
        if problems:
            raise SettingsError(problems=tuple(problems))
        return settings

    @property
    def fee_rate_ppm(self) -> int:
        """The fee as the ledger counts it: millionths of the amount, exactly."""
        return int(self.fee_percent * _PPM_IN_A_PERCENT)

    @property
    def demo_gateway(self) -> bool:
        """Whether payments go to the demo gateway: no gateway is named, or the one named is our own."""
        if self.payment_gateway_url is None:
            return True
        url = urlsplit(self.payment_gateway_url)
        return (
            url.path == _MOCK_GATEWAY_PATH
            and (url.hostname or "") in _OWN_NAMES | {self.host.lower()}
            and (url.port or 80) == self.port
        )

    @property
    def gateway_base_url(self) -> str:
        """Where payments are sent, `/pay` to be added; the demo gateway is called directly, not through the API."""
        if self.payment_gateway_url is not None and not self.demo_gateway:
            return self.payment_gateway_url
        return self.demo_gateway_url

    @property
    def demo_gateway_url(self) -> str:
        """Where the demo gateway answers, for those who call it or forward to it."""
        host = "127.0.0.1" if self.demo_gateway_host in _ANY_ADDRESS else self.demo_gateway_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.demo_gateway_port}"

    def _contradictions(self) -> list[str]:
        found = []
        if self.worker_processing_timeout_seconds <= self.gateway_timeout_seconds:
            found.append(
                f"WORKER_PROCESSING_TIMEOUT_SECONDS ({self.worker_processing_timeout_seconds:g}) has to be longer than"
                f" a call of the gateway may take, GATEWAY_TIMEOUT_SECONDS ({self.gateway_timeout_seconds:g}):"
                " or a payment would be claimed again while it is being called"
            )
        if self.gateway_backoff_max_seconds < self.gateway_backoff_base_seconds:
            found.append(
                f"GATEWAY_BACKOFF_MAX_SECONDS ({self.gateway_backoff_max_seconds:g}) has to be at least"
                f" GATEWAY_BACKOFF_BASE_SECONDS ({self.gateway_backoff_base_seconds:g})"
            )
        if self.demo_gateway_error_rate + self.demo_gateway_timeout_rate > 1:
            found.append("DEMO_GATEWAY_ERROR_RATE and DEMO_GATEWAY_TIMEOUT_RATE together have to be at most 1")
        return found


def find_dotenv(directory: Path) -> Path | None:
    """Find the `.env` that counts: the one in a directory (where a command was started), else the checkout's."""
    return next((path for path in (directory / ".env", CHECKOUT / ".env") if path.is_file()), None)


class _Reader:
    """Reads one setting after the other, and goes on after a wrong one to find the others."""

    def __init__(self, values: Mapping[str, str], problems: list[str]) -> None:
        self._values = values
        self._problems = problems

    def __call__(self, name: str, parse: Callable[[str], T], default: T) -> T:
        text = self._values.get(name)
        if text is None:
            return default
        try:
            return parse(text)
        except ValueError as wrong:
            self._problems.append(f"{name} {wrong}")
            return default


def _set_names(values: Mapping[str, str]) -> dict[str, str]:
    # Where two spellings of a name are set, the one in capitals is meant: sorting puts it last.
    ordered = sorted(values, key=str.isupper)
    return {name.upper(): values[name].strip() for name in ordered if values[name].strip()}


_ASSIGNMENT: Final = re.compile(
    r"""
    (?: export \s+ )? (?P<name> [A-Za-z_][A-Za-z0-9_.-]* ) \s* = \s*
    (?: "(?P<double> (?: [^"\\] | \\. )* )"  \s* (?: \#.* )?
      | '(?P<single> [^']* )'  \s* (?: \#.* )?
      | (?P<plain> (?! ["'] ) .*? ) (?: (?<=[\s=]) \#.* )? )
    """,
    re.VERBOSE,
)


def _read_dotenv(path: Path, problems: list[str]) -> dict[str, str]:
    """Read a `.env` file: `NAME=value`, quoted or not, with comments, `export` and a byte order mark allowed."""
    values: dict[str, str] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{path.name} cannot be read as UTF-8 text: {type(error).__name__}")
        return values
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line.strip())
        if match is None:
            problems.append(f"{path.name}, line {number}, is no NAME=value (a quote that is opened has to be closed)")
        elif match["double"] is not None:
            values[match["name"]] = re.sub(r'\\(["\\])', r"\1", match["double"])
        else:
            values[match["name"]] = match["single"] if match["single"] is not None else match["plain"]
    return _set_names(values)


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError(f"has to be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return parse


def _seconds(least: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not re.fullmatch(_PLAIN_NUMBER, text, re.ASCII) or not least <= float(text) <= _SECONDS_MAX:
            raise ValueError(f"has to be a number of seconds from {least:g} to {_SECONDS_MAX:g}, not {text!r}")
        return float(text)

    return parse


def _share(text: str) -> float:
    if not re.fullmatch(_PLAIN_NUMBER, text, re.ASCII) or not 0 <= float(text) <= 1:
        raise ValueError(f"has to be a share from 0 to 1, such as 0.25, not {text!r}")
    return float(text)


def _fee_percent(text: str) -> Decimal:
    plain = rf"[0-9]{{1,9}}(\.[0-9]{{1,{_FEE_DECIMALS_MAX}}}0*)?"
    if not re.fullmatch(plain, text, re.ASCII) or Decimal(text) * _PPM_IN_A_PERCENT > FEE_RATE_PPM_MAX:
        raise ValueError(
            f"has to be a percentage from 0 to 100 with at most {_FEE_DECIMALS_MAX} decimals, such as 2 or 1.75,"
            f" not {text!r}"
        )
    return Decimal(text)


def _switch(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError(f"has to be true or false, not {text!r}")


def _log_level(text: str) -> str:
    level = {"warn": "warning", "fatal": "critical"}.get(text.lower(), text.lower())
    if level not in {"debug", "info", "warning", "error", "critical"}:
        raise ValueError(f"has to be debug, info, warning, error or critical, not {text!r}")
    return level


def _currency(text: str) -> str:
    if text.upper() not in CURRENCY_DECIMALS:
        raise ValueError(f"has to be an ISO 4217 currency code, such as USD, not {text!r}")
    return text.upper()


def _schema(text: str) -> str:
    plain = re.fullmatch(rf"[a-z_][a-z0-9_]{{0,{_SCHEMA_CHARACTERS_MAX - 1}}}", text, re.ASCII)
    if not plain or text.startswith("pg_") or text in {"information_schema", "demo_gateway"}:
        raise ValueError(
            f"has to be a name of small letters, digits and _ of at most {_SCHEMA_CHARACTERS_MAX} characters that"
            f" is not taken by Postgres or the demo gateway, not {text!r}"
        )
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", text, re.ASCII):
        raise ValueError(f"has to be a host name or an address, such as 127.0.0.1, not {text!r}")
    return text


def _http_url(text: str) -> str:
    expected = "has to be a URL such as https://gateway.example/v1, without query and fragment"
    try:
        url = urlsplit(text)
        complete = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    except ValueError:
        raise ValueError(expected) from None
    if not complete or url.query or url.fragment or re.search(r"\s", text):
        raise ValueError(expected)
    return text.rstrip("/")


def _database_url(text: str) -> str:
    """Turn the spellings of other libraries into the one that libpq reads.

    `postgres://` and `postgresql+asyncpg://` become `postgresql://`, and `?ssl=`, which is asyncpg's, `?sslmode=`.
    """
    expected = (
        "has to be a URL such as postgresql://user:password@host:5432/name, with special characters in it"
        " percent-encoded and parameters that libpq knows"
    )
    match = re.fullmatch(
        r"(?i:postgres(?:ql)?)(?:\+[A-Za-z0-9_]+)?://(?P<login>[^@/]*@)?(?P<place>.*)", text, re.DOTALL
    )
    if match is None or "@" in match["place"].partition("?")[0]:  # an @ left here means a / in the password
        raise ValueError(expected)
    place, _, query = match["place"].partition("?")
    parameters = [_ssl_mode(parameter) for parameter in query.split("&") if parameter]
    url = f"postgresql://{match['login'] or ''}{place}{'?' if parameters else ''}{'&'.join(parameters)}"
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise ValueError(expected) from None  # its message may repeat a part of the password
    return url


def _ssl_mode(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    if name != "ssl":
        return parameter
    try:
        mode = "require" if _switch(value) else "disable"
    except ValueError:
        mode = value.lower().replace("_", "-")
    if mode not in _SSL_MODES:
        raise ValueError(f"has ?ssl={value!r}, which has to be true, false or one of {', '.join(sorted(_SSL_MODES))}")
    return f"sslmode={mode}"
