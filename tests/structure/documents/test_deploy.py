"""Files that operators copy: the unit files are right, and compose limits logs and asks for health seldom."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from api.cli.main import COMMANDS
from api.settings import Settings
from tests.structure.tree import ROOT, over

UNITS: Final = sorted((ROOT / "deploy/systemd").glob("payment-ledger-*"))
SYSTEMD_ANALYZE: Final = shutil.which("systemd-analyze")
SECONDS_BETWEEN_CHECKS_MIN: Final = 15


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
    return found


def test_the_example_of_several_partitions_fits_compose() -> None:
    """Its services are those of compose and one more server, and its settings are a ledger's."""
    example = yaml.safe_load((ROOT / "docker-compose.scale.yml").read_text("utf-8"))
    added = example["services"].keys() - services().keys()
    given = example["x-partitions"] | {"DATABASE_URL": "postgresql://postgres/ledger"}
    urls = re.sub(r"\$\{[A-Z_]+:-([a-z]+)\}", r"\1", given["LEDGER_PARTITION_URLS"])

    settings = Settings.load(given | {"LEDGER_PARTITION_URLS": urls})

    assert added == {"postgres-2"}
    assert (settings.partitions, len(settings.partition_urls or ())) == (4, 4)
    assert {name for name, service in services().items() if "LEDGER_PART" in service.get("environment", {})} <= {
        name for name, service in example["services"].items() if service.get("environment") == example["x-partitions"]
    }


@pytest.mark.skipif(SYSTEMD_ANALYZE is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    """They are verified together, because they name each other, with a program that is there."""
    assert SYSTEMD_ANALYZE is not None
    program = shutil.which("true")
    for unit in UNITS:
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/payment-ledger", str(program)))

    verified = subprocess.run(
        [SYSTEMD_ANALYZE, "verify", *sorted(tmp_path.iterdir())], capture_output=True, text=True, check=False
    )

    assert (verified.returncode, verified.stdout + verified.stderr) == (0, "")


@over([unit for unit in UNITS if unit.suffix == ".service"])
def test_a_unit_runs_a_command_that_exists(path: Path) -> None:
    """As `payment-ledger` on PATH, with rights that a stolen process could not raise."""
    text = path.read_text()
    found = re.search(r"^ExecStart=.*/usr/local/bin/payment-ledger ([a-z]+)", text, re.MULTILINE)

    assert found is not None
    assert found[1] in {entry.name for entry in COMMANDS}
    assert {"NoNewPrivileges=true", "CapabilityBoundingSet=", "User=payment-ledger"} <= set(text.splitlines())


@pytest.mark.parametrize("name", sorted(services()))
def test_the_log_of_a_container_has_a_limit(name: str) -> None:
    """Docker's own driver would fill the disk."""
    options = services()[name]["logging"]["options"]

    assert set(options) == {"max-size", "max-file"}


def test_health_is_asked_for_seldom() -> None:
    """A check starts an interpreter, so one every few seconds for each part took a fifth of a core."""
    (seconds,) = re.findall(r"HEALTHCHECK --interval=(\d+)s", (ROOT / "Dockerfile").read_text("utf-8"))

    assert int(seconds) >= SECONDS_BETWEEN_CHECKS_MIN


def test_the_command_is_on_the_path_of_the_image() -> None:
    """So that `docker compose exec api payment-ledger status` works."""
    image = (ROOT / "Dockerfile").read_text("utf-8")

    assert 'ENTRYPOINT ["payment-ledger"]' in image
    assert "/opt/ledger/bin/payment-ledger" in image
    assert "ENV PATH=/opt/ledger/bin:$PATH" in image


def test_compose_uses_a_database_of_ones_own() -> None:
    """`DATABASE_URL` of the environment or of `.env` comes before the bundled Postgres."""
    assert services()["api"]["environment"]["DATABASE_URL"].startswith("${DATABASE_URL:-postgresql://postgres:5432/")
