"""Names beside the table of settings: old ones, those of the original service, and those that only compose reads."""

from typing import Final

from api.settings.declaration import OldName, Setting
from api.settings.parsers import TEXT, whole

OLD_NAMES: Final = (
    OldName(
        name="GATEWAY_SETTLE_SECONDS",
        becomes={"GATEWAY_INQUIRY_DELAY_SECONDS": None},
        doc="the same as `GATEWAY_INQUIRY_DELAY_SECONDS`",
    ),
    OldName(
        name="DEMO_GATEWAY_CHAOS_SEED",
        becomes={"DEMO_GATEWAY_KIND": "chaos", "DEMO_GATEWAY_SEED": None},
        doc="the same as `DEMO_GATEWAY_KIND=chaos` with this `DEMO_GATEWAY_SEED`",
    ),
)

NAMES_WITHOUT_EFFECT: Final = ("APP_ENV", "APP_VERSION", "DEBUG", "DB_*", "CELERY_*")
"""Names of the original service, which may stand in its `.env`; they have no effect, like any name not listed here."""

COMPOSE_NAMES: Final = (
    Setting(
        name="POSTGRES_USER", parser=TEXT, default="ledger", doc="The owner of the database.", heading="docker compose"
    ),
    Setting(name="POSTGRES_PASSWORD", parser=TEXT, default="ledger", doc="The owner's password.", secret=True),
    Setting(name="POSTGRES_DB", parser=TEXT, default="ledger", doc="The name of the database."),
    Setting(
        name="DOCKER_API_PORT",
        parser=whole(1, 65_535),
        default="8000",
        doc="The port of this machine, on 127.0.0.1, that leads to the API.",
    ),
    Setting(
        name="DOCKER_PROMETHEUS_PORT",
        parser=whole(1, 65_535),
        default="9090",
        doc="The port of this machine, on 127.0.0.1, that leads to Prometheus, with the profile observability.",
    ),
    Setting(
        name="DOCKER_GRAFANA_PORT",
        parser=whole(1, 65_535),
        default="3000",
        doc="The port of this machine, on 127.0.0.1, that leads to Grafana, with the profile observability.",
    ),
)
"""Names that only `docker-compose.yml` reads; the service does not."""
