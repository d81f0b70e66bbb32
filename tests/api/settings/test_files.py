"""The files that follow from the table of settings say what the table says."""

import re
from pathlib import Path

import pytest
import yaml

from api.settings import CHECKOUT, Settings
from api.settings.declaration import rows_of
from api.settings.files import COMPOSE_BEGIN, COMPOSE_END, FILES, compose_file, write_files
from api.settings.other_names import COMPOSE_NAMES, OLD_NAMES

NAMES = {row.name for row in rows_of(Settings).values()}
COMPOSE = CHECKOUT / "docker-compose.yml"


@pytest.mark.parametrize("name", FILES, ids=str)
def test_a_file_is_what_follows_from_the_table(name: Path) -> None:
    """After a change of the table, `make generated` writes the files again."""
    present = (CHECKOUT / name).read_text("utf-8")

    assert FILES[name](present) == present


def test_only_files_that_differ_are_written(tmp_path: Path) -> None:
    """A file that is missing or was changed by hand is made again; the rest of the compose file is left alone."""
    compose = COMPOSE.read_text("utf-8")
    changed = compose.replace("  LOG_LEVEL: ${LOG_LEVEL:-}\n", "").replace("postgres:18", "postgres:19")
    (tmp_path / "docker-compose.yml").write_text(changed, "utf-8")

    first, second = list(write_files(tmp_path)), list(write_files(tmp_path))

    assert (set(first), second) == (set(FILES), [])
    assert (tmp_path / "docker-compose.yml").read_text("utf-8") == compose.replace("postgres:18", "postgres:19")
    assert (tmp_path / ".env.example").read_text("utf-8") == (CHECKOUT / ".env.example").read_text("utf-8")


@pytest.mark.parametrize("line", [COMPOSE_BEGIN, COMPOSE_END])
def test_a_compose_file_without_its_marks_is_refused(line: str) -> None:
    """Rather than given settings in a place that nobody knows."""
    with pytest.raises(ValueError, match=r"docker-compose\.yml"):
        compose_file(COMPOSE.read_text("utf-8").replace(line, ""))


def test_the_example_file_lists_every_setting_with_its_default() -> None:
    """Copying .env.example to .env changes nothing, and no setting is missing from it."""
    example = CHECKOUT / ".env.example"
    names = {line.partition("=")[0] for line in example.read_text("utf-8").splitlines() if re.match("[A-Z_]+=", line)}

    assert Settings.load({}, dotenv=example) == Settings.load({})
    assert Settings.load({}, dotenv=example, command="serve") == Settings.load({}, command="serve")
    assert names == NAMES | {row.name for row in COMPOSE_NAMES}


def test_every_setting_reaches_the_parts_under_compose() -> None:
    """Passed on as it is, or set by compose; an old name that stands in somebody's `.env` too."""
    described = yaml.safe_load(COMPOSE.read_text("utf-8"))
    of_every_part = described["x-environment"]
    of_a_part = set().union(*(service.get("environment", {}) for service in described["services"].values()))
    passed_on = {name for name, value in of_every_part.items() if value == f"${{{name}:-}}"}

    assert passed_on == {row.name for row in rows_of(Settings).values() if row.compose} | {
        old.name for old in OLD_NAMES
    }
    set_by_compose = {row.name for row in rows_of(Settings).values() if not row.compose}
    left_to_the_image = {"WAL_ARCHIVE_DIR", "LEDGER_DATA_DIR", "AUTO_CREATE_TABLES", "HOST", "DEMO_GATEWAY_PORT"}
    assert set_by_compose - of_a_part == left_to_the_image


def test_compose_reads_the_names_that_the_example_file_lists_for_it() -> None:
    """And has the same defaults for them."""
    text = COMPOSE.read_text("utf-8")
    read = dict(re.findall(r"\$\{((?:POSTGRES|DOCKER)_[A-Z_]+):-([^}]*)\}", text))

    assert read == {row.name: row.default for row in COMPOSE_NAMES}


def test_the_reference_page_has_a_line_for_every_name() -> None:
    """With its default and its meaning."""
    page = (CHECKOUT / "docs" / "reference" / "settings.md").read_text("utf-8")

    for row in (*rows_of(Settings).values(), *COMPOSE_NAMES):
        (line,) = re.findall(rf"^\| `{row.name}` \|.*$", page, re.MULTILINE)
        assert row.doc in line
        assert row.default is None or f"`{row.default}`" in line
    for old in OLD_NAMES:
        assert f"| `{old.name}` |" in page
