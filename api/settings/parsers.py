"""Parsers of settings: each turns the text of a value into what it means, and says what it takes.

A parser describes the values that it takes in one phrase, `takes`. It completes the sentence that names a wrong value
and stands in the reference page. A parser that may meet a password sets `repeats=False`, and then no message repeats
the wrong value.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Final, Generic, TypeVar
from urllib.parse import urlsplit

from ledger.domain.money import CURRENCY_DECIMALS, FEE_RATE_PPM_MAX

PPM_IN_A_PERCENT: Final = FEE_RATE_PPM_MAX // 100

_FEE_DECIMALS_MAX: Final = 4  # a percentage with four decimals is a whole number of millionths
_SCHEMA_CHARACTERS_MAX: Final = 40  # Postgres cuts names at 63, and names of roles are made from this one
_PLAIN_NUMBER: Final = r"[0-9]{1,9}(\.[0-9]{1,18})?|\.[0-9]{1,18}"
_SECONDS_MAX: Final = 86_400.0
_PARTITIONS_MAX: Final = 1024  # a slot each; loading the ledger takes longer than a whole health check
_SSL_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})
_NO_INQUIRIES: Final = "none"
_ALL_CURRENCIES: Final = "all"
_LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_PLAIN_DATABASE_URL: Final = re.compile(r"postgresql://([a-z0-9_]+@)?[a-z0-9.-]+(:[0-9]{1,5})?/[a-z0-9_-]+")
"""URLs that libpq is known to read; a test shows it. Every other URL is given to libpq to judge."""

T = TypeVar("T")
WordT = TypeVar("WordT", bound=str)


class WrongValue(ValueError):
    """A value is wrong in a way of its own; the text is the rest of a sentence that starts with the setting's name."""


@dataclass(frozen=True)
class Parser(Generic[T]):
    """A function from text to a value, which raises ValueError for a text that it does not take.

    `empty` is the word for an empty list: an empty text would mean that the setting is unset.
    """

    takes: str
    read: Callable[[str], T]
    repeats: bool = True
    empty: str = ""

    def __call__(self, text: str) -> T:
        """Parse a value. Raises WrongValue, with the rest of a sentence that starts with the setting's name."""
        try:
            return self.read(text)
        except WrongValue:
            raise
        except ValueError:
            raise WrongValue(f"has to be {self.takes}" + (f", not {text!r}" if self.repeats else "")) from None


def whole(least: int, most: int) -> Parser[int]:
    """Make a parser of whole numbers in a range."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or not least <= int(text) <= most:
            raise ValueError
        return int(text)

    return Parser(f"a whole number from {least} to {most}", read)


def seconds(least: float) -> Parser[float]:
    """Make a parser of durations in seconds: at least so many, at most a day."""

    def read(text: str) -> float:
        if not re.fullmatch(_PLAIN_NUMBER, text, re.ASCII) or not least <= float(text) <= _SECONDS_MAX:
            raise ValueError
        return float(text)

    return Parser(f"a number of seconds from {least:g} to {_SECONDS_MAX:g}", read)


def _late_inquiries(text: str) -> tuple[float, ...]:
    """Read times in seconds in ascending order, up to a day; empty for no inquiries."""
    if text.lower() == _NO_INQUIRIES:
        return ()
    times = text.replace(",", " ").split()
    if not times or not all(re.fullmatch(_PLAIN_NUMBER, each, re.ASCII) for each in times):
        raise ValueError
    late = tuple(float(each) for each in times)
    if not all(before < after for before, after in pairwise((0.0, *late))) or late[-1] > _SECONDS_MAX:
        raise ValueError
    return late


def _share(text: str) -> float:
    if not re.fullmatch(_PLAIN_NUMBER, text, re.ASCII) or not 0 <= float(text) <= 1:
        raise ValueError
    return float(text)


def _fee_percent(text: str) -> Decimal:
    plain = rf"[0-9]{{1,9}}(\.[0-9]{{1,{_FEE_DECIMALS_MAX}}}0*)?"
    if not re.fullmatch(plain, text, re.ASCII) or Decimal(text) * PPM_IN_A_PERCENT > FEE_RATE_PPM_MAX:
        raise ValueError
    return Decimal(text)


def _switch(text: str) -> bool:
    if text.lower() in {"true", "1", "yes", "on"}:
        return True
    if text.lower() in {"false", "0", "no", "off"}:
        return False
    raise ValueError


def _log_level(text: str) -> str:
    level = {"warn": "warning", "fatal": "critical"}.get(text.lower(), text.lower())
    if level not in _LOG_LEVELS:
        raise ValueError
    return level


def _currency(text: str) -> str:
    if text.upper() not in CURRENCY_DECIMALS:
        raise ValueError
    return text.upper()


def _currencies(text: str) -> frozenset[str]:
    """Read currency codes; empty for all of them."""
    if text.lower() == _ALL_CURRENCIES:
        return frozenset()
    codes = frozenset(text.upper().replace(",", " ").split())
    if not codes or not codes <= CURRENCY_DECIMALS.keys():
        raise ValueError
    return codes


def _schema(text: str) -> str:
    plain = re.fullmatch(rf"[a-z_][a-z0-9_]{{0,{_SCHEMA_CHARACTERS_MAX - 1}}}", text, re.ASCII)
    if not plain or text.startswith("pg_") or text in {"information_schema", "demo_gateway"}:
        raise ValueError
    return text


def _host(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", text, re.ASCII):
        raise ValueError
    return text


def _http_url(text: str) -> str:
    url = urlsplit(text)
    complete = url.scheme in {"http", "https"} and bool(url.hostname) and url.port != 0
    if not complete or url.query or url.fragment or re.search(r"\s", text):
        raise ValueError
    return text.rstrip("/")


def _redis_url(text: str) -> str:
    url = urlsplit(text)
    complete = url.scheme in {"redis", "rediss"} and bool(url.hostname) and url.port != 0
    if (
        not complete
        or not re.fullmatch(r"/?[0-9]{0,4}", url.path)
        or url.fragment
        or url.query
        or re.search(r"\s", text)
    ):
        raise ValueError
    return text


def _database_url(text: str) -> str:
    """Turn the spellings of other libraries into the one that libpq reads.

    `postgres://` and `postgresql+asyncpg://` become `postgresql://`, and `?ssl=`, which is asyncpg's, `?sslmode=`.
    """
    match = re.fullmatch(
        r"(?i:postgres(?:ql)?)(?:\+[A-Za-z0-9_]+)?://(?P<login>[^@/]*@)?(?P<place>.*)", text, re.DOTALL
    )
    if match is None or "@" in match["place"].partition("?")[0]:  # an @ left here means a / in the password
        raise ValueError
    place, _, query = match["place"].partition("?")
    parameters = [_ssl_mode(parameter) for parameter in query.split("&") if parameter]
    url = f"postgresql://{match['login'] or ''}{place}{'?' if parameters else ''}{'&'.join(parameters)}"
    # Loading psycopg takes longer than a whole health check, which reads the settings and no database.
    if not _PLAIN_DATABASE_URL.fullmatch(url) and not import_module("api.settings.libpq").can_read(url):
        raise ValueError
    return url


def _database_urls(text: str) -> tuple[str, ...]:
    """Read URLs of databases. No URL has a space in it, while one with several hosts has commas."""
    urls = tuple(_database_url(each) for each in text.split())
    if len(urls) > _PARTITIONS_MAX:
        raise ValueError
    return urls


def _partitions(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or int(text).bit_count() != 1 or int(text) > _PARTITIONS_MAX:
        raise ValueError
    return int(text)


def _ssl_mode(parameter: str) -> str:
    name, _, value = parameter.partition("=")
    if name != "ssl":
        return parameter
    try:
        mode = "require" if _switch(value) else "disable"
    except ValueError:
        mode = value.lower().replace("_", "-")
    if mode not in _SSL_MODES:
        raise WrongValue(f"has ?ssl={value!r}, which has to be true, false or one of {', '.join(sorted(_SSL_MODES))}")
    return f"sslmode={mode}"


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    plain = re.compile(r"\*|https?://(?:[a-z0-9.-]+|\[[0-9a-f:]+\])(?::[0-9]{1,5})?")
    if not origins or not all(plain.fullmatch(origin) for origin in origins):
        raise ValueError
    return origins


def choice(*options: WordT) -> Parser[WordT]:
    """Make a parser of one word out of several, written in any case."""

    def read(text: str) -> WordT:
        for option in options:
            if option == text.lower():
                return option
        raise ValueError

    return Parser(" or ".join(options), read)


TEXT: Final = Parser("any text", str)
PATH: Final = Parser("a path", lambda text: Path(text).expanduser())
SWITCH: Final = Parser("true or false", _switch)
SHARE: Final = Parser("a share from 0 to 1, such as 0.25", _share)
FEE_PERCENT: Final = Parser(
    f"a percentage from 0 to 100 with at most {_FEE_DECIMALS_MAX} decimals, such as 2 or 1.75", _fee_percent
)
LATE_INQUIRIES: Final = Parser(
    f"times in seconds in ascending order, up to {_SECONDS_MAX:.0f}, such as 3600, 86400, or {_NO_INQUIRIES}",
    _late_inquiries,
    empty=_NO_INQUIRIES,
)
LOG_LEVEL: Final = Parser(f"{', '.join(_LOG_LEVELS[:-1])} or {_LOG_LEVELS[-1]}", _log_level)
CURRENCY: Final = Parser("an ISO 4217 currency code, such as USD", _currency)
CURRENCIES: Final = Parser(
    f"ISO 4217 currency codes, such as USD, EUR, or {_ALL_CURRENCIES}", _currencies, empty=_ALL_CURRENCIES
)
SCHEMA: Final = Parser(
    f"a name of small letters, digits and _ of at most {_SCHEMA_CHARACTERS_MAX} characters that is not taken by"
    " Postgres or the demo gateway",
    _schema,
)
HOST: Final = Parser("a host name or an address, such as 127.0.0.1", _host)
ORIGINS: Final = Parser("origins such as https://app.example, separated by commas, in small letters; or *", _origins)
HTTP_URL: Final = Parser(
    "a URL such as https://gateway.example/v1, without query and fragment", _http_url, repeats=False
)
REDIS_URL: Final = Parser(
    "a URL such as redis://:password@host:6379/0, or rediss:// for TLS", _redis_url, repeats=False
)
DATABASE_URL: Final = Parser(
    "a URL such as postgresql://user:password@host:5432/name, with special characters in it percent-encoded and"
    " parameters that libpq knows",
    _database_url,
    repeats=False,
)
DATABASE_URLS: Final = Parser(
    "URLs such as postgresql://user:password@host:5432/name, separated by spaces", _database_urls, repeats=False
)
PARTITIONS: Final = Parser(f"a power of two from 1 to {_PARTITIONS_MAX}", _partitions)
