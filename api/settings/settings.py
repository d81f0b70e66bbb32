"""The settings of one start: the values of the table, checked against each other, and the values derived from them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from api.settings.declaration import rows_of
from api.settings.limits import TableWithLimits
from api.settings.loading import Reading, SettingsError, read_settings
from api.settings.other_names import OLD_NAMES
from api.settings.parsers import PPM_IN_A_PERCENT

_CALLS_A_GATEWAY: Final = frozenset({"serve", "worker"})
_INQUIRY_DELAY_SECONDS: Final = 5.0
_MOCK_GATEWAY_PATH: Final = "/api/v1/mock-gateway"
_ANY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised here, nothing is bound to it
_OWN_NAMES: Final = _ANY_ADDRESS | {"localhost", "127.0.0.1", "::1", "api"}  # api: the service's name under compose


class Settings(TableWithLimits):
    """The settings of one start, checked."""

    @classmethod
    def load(cls, environ: Mapping[str, str], *, dotenv: Path | None = None, command: str | None = None) -> "Settings":
        """Read the settings for a command (`serve`, `api`, ...) from an environment and a `.env` file, if any.

        Raises SettingsError, which names everything that is wrong.
        """
        return cls.of(cls.read(environ, dotenv=dotenv, command=command))

    @classmethod
    def read(cls, environ: Mapping[str, str], *, dotenv: Path | None = None, command: str | None = None) -> Reading:
        """Read the settings with where each comes from, and without judging them."""
        return read_settings(rows_of(cls), OLD_NAMES, environ, dotenv=dotenv, command=command)

    @classmethod
    def of(cls, reading: Reading) -> "Settings":
        """Make settings of a reading. Raises SettingsError, which names everything that is wrong."""
        paths = {field: reading.directory / value for field, value in reading.values.items() if isinstance(value, Path)}
        values = {**reading.values, **paths}
        settings = cls(**values)
        contradicting = (*settings._contradictions(), *settings._contradictions_of_databases())
        found = (*contradicting, *settings._missing(reading.command))
        contradictions = [text for names, text in found if not reading.wrong & names]
        if problems := (*reading.problems, *contradictions):
            raise SettingsError(problems=problems)
        return settings

    @property
    def fee_rate_ppm(self) -> int:
        """The fee as the ledger counts it: millionths of the amount, exactly."""
        return int(self.fee_percent * PPM_IN_A_PERCENT)

    @property
    def noted_heads_folder(self) -> Path:
        """Where writers note the last heads that they have committed, if the folder is there."""
        return self.data_dir / "heads"

    @property
    def demo_gateway(self) -> bool:
        """Whether payments go to the demo gateway.

        They do when the gateway that is named is our own. When none is named, they do with the embedded Postgres; with
        a database of the operator's own, a setting must ask for it, because a mistyped PAYMENT_GATEWAY_URL names no
        gateway.
        """
        if self.payment_gateway_url is None:
            return self.demo_gateway_allowed or self.database_url is None
        url = urlsplit(self.payment_gateway_url)
        return (
            url.path == _MOCK_GATEWAY_PATH
            and (url.hostname or "") in _OWN_NAMES | {self.host.lower()}
            and (url.port or 80) == self.port
        )

    @property
    def gateway_base_url(self) -> str:
        """Where payments are sent, `/pay` to be added; the demo gateway is called directly, not through the API."""
        if self.demo_gateway:
            return self.demo_gateway_url
        assert self.payment_gateway_url is not None, "commands that call a gateway are refused without one"
        return self.payment_gateway_url

    @property
    def demo_gateway_url(self) -> str:
        """Where the demo gateway answers, for those who call it or forward to it."""
        host = "127.0.0.1" if self.demo_gateway_host in _ANY_ADDRESS else self.demo_gateway_host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.demo_gateway_port}"

    @property
    def inquiry_delay_seconds(self) -> float:
        """How long after its last call the gateway is asked about a payment.

        When nobody has set it, it grows with the time that a call may take.
        """
        if self.gateway_inquiry_delay_seconds is None:
            return max(_INQUIRY_DELAY_SECONDS, self.gateway_timeout_seconds)
        return self.gateway_inquiry_delay_seconds

    @property
    def gateway_tls_files(self) -> tuple[Path, ...]:
        """The files for TLS to the gateway, as far as they are set."""
        named = (self.gateway_ca_file, self.gateway_cert_file, self.gateway_key_file)
        return tuple(file for file in named if file is not None)

    def _contradictions(self) -> Iterator[tuple[frozenset[str], str]]:
        """Yield the contradictions between settings: their names, and a sentence."""
        lease, call = self.worker_processing_timeout_seconds, self.gateway_timeout_seconds
        if lease <= call:
            yield (
                frozenset({"WORKER_PROCESSING_TIMEOUT_SECONDS", "GATEWAY_TIMEOUT_SECONDS"}),
                (
                    f"WORKER_PROCESSING_TIMEOUT_SECONDS ({lease:g}) must be longer than a call of the gateway may"
                    f" take, GATEWAY_TIMEOUT_SECONDS ({call:g}): or a payment would be claimed again while it is being"
                    " called"
                ),
            )
        if self.gateway_inquiry and self.inquiry_delay_seconds < call:
            yield (
                frozenset({"GATEWAY_INQUIRY_DELAY_SECONDS", "GATEWAY_TIMEOUT_SECONDS"}),
                (
                    f"GATEWAY_INQUIRY_DELAY_SECONDS ({self.inquiry_delay_seconds:g}) must be at least"
                    f" GATEWAY_TIMEOUT_SECONDS ({call:g}): or the gateway would be asked about a call that is still"
                    " under way"
                ),
            )
        if (self.ssl_certificate is None) != (self.ssl_key is None):
            yield (
                frozenset({"SSL_CERTIFICATE", "SSL_KEY"}),
                "SSL_CERTIFICATE and SSL_KEY belong together: set both, or neither for plain HTTP",
            )
        longest, base = self.gateway_backoff_max_seconds, self.gateway_backoff_base_seconds
        if longest < base:
            yield (
                frozenset({"GATEWAY_BACKOFF_MAX_SECONDS", "GATEWAY_BACKOFF_BASE_SECONDS"}),
                f"GATEWAY_BACKOFF_MAX_SECONDS ({longest:g}) must be at least GATEWAY_BACKOFF_BASE_SECONDS ({base:g})",
            )
        if self.gateway_key_file is not None and self.gateway_cert_file is None:
            yield (
                frozenset({"GATEWAY_KEY_FILE", "GATEWAY_CERT_FILE"}),
                "GATEWAY_KEY_FILE has the key of a certificate, so GATEWAY_CERT_FILE must be set too",
            )
        if self.gateway_tls_files and (self.payment_gateway_url or "").startswith("http:"):
            yield (
                frozenset({"GATEWAY_CA_FILE", "GATEWAY_CERT_FILE", "GATEWAY_KEY_FILE", "PAYMENT_GATEWAY_URL"}),
                (
                    "GATEWAY_CA_FILE, GATEWAY_CERT_FILE and GATEWAY_KEY_FILE are for TLS, so PAYMENT_GATEWAY_URL must"
                    " begin with https://"
                ),
            )
        if self.demo_gateway_error_rate + self.demo_gateway_timeout_rate > 1:
            yield (
                frozenset({"DEMO_GATEWAY_ERROR_RATE", "DEMO_GATEWAY_TIMEOUT_RATE"}),
                "DEMO_GATEWAY_ERROR_RATE and DEMO_GATEWAY_TIMEOUT_RATE together must be at most 1",
            )
        if self.demo_gateway_kind == "chaos" and self.demo_gateway_seed is None:
            yield (
                frozenset({"DEMO_GATEWAY_KIND", "DEMO_GATEWAY_SEED"}),
                (
                    "DEMO_GATEWAY_SEED is missing: with DEMO_GATEWAY_KIND=chaos, the gateway's behaviour follows from"
                    " this number. Any number will do, such as DEMO_GATEWAY_SEED=1"
                ),
            )

    def _contradictions_of_databases(self) -> Iterator[tuple[frozenset[str], str]]:
        """Yield those about where the ledger is."""
        if self.partition_urls is not None and len(self.partition_urls) not in {1, self.partitions}:
            yield (
                frozenset({"LEDGER_PARTITION_URLS", "LEDGER_PARTITIONS"}),
                (
                    f"LEDGER_PARTITION_URLS has {len(self.partition_urls)} URLs, and LEDGER_PARTITIONS is"
                    f" {self.partitions}: give one for all partitions, or one for each"
                ),
            )
        if self.partition_urls is not None and self.database_url is None:
            yield (
                frozenset({"LEDGER_PARTITION_URLS", "DATABASE_URL"}),
                "LEDGER_PARTITION_URLS needs DATABASE_URL: set it to the first of them",
            )
        if self.admin_url is not None and self.database_url is None:
            yield (
                frozenset({"LEDGER_ADMIN_URL", "DATABASE_URL"}),
                "LEDGER_ADMIN_URL needs DATABASE_URL: the embedded Postgres has one node",
            )

    def _missing(self, command: str | None) -> Iterator[tuple[frozenset[str], str]]:
        """Yield the settings that a command needs and does not have: their names, and a sentence."""
        if command in _CALLS_A_GATEWAY and self.payment_gateway_url is None and not self.demo_gateway:
            yield (
                frozenset({"PAYMENT_GATEWAY_URL", "DEMO_GATEWAY", "DATABASE_URL"}),
                (
                    "PAYMENT_GATEWAY_URL is missing, and DATABASE_URL names a database of your own: the demo gateway"
                    " would approve its payments and move no money. DEMO_GATEWAY=true allows that"
                ),
            )
