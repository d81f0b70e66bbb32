"""The generated pages are what the code says now; `python -m tests.support.reference` writes them again."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.databases import fresh_ledger
from tests.support.reference.errors import error_classes
from tests.support.reference.life import life_sections
from tests.support.reference.markdown import table
from tests.support.reference.pages import CHECKOUT, PAGES, TABLES
from tests.support.reference.states import explore
from tests.support.reference.tables import migration_comments, tables_page

AGAIN: Final = "the page is not what the code says: run `python -m tests.support.reference`"


@pytest.mark.parametrize(("path", "make"), PAGES.items(), ids=[path.relative_to(CHECKOUT).as_posix() for path in PAGES])
def test_a_page_is_what_the_code_says(path: Path, make: Callable[[], str]) -> None:
    """People who change the code run one command, and read in the page how the change affects others."""
    assert make() == path.read_text("utf-8"), AGAIN


def test_the_page_of_tables_is_what_a_migrated_database_has(postgres_url: str) -> None:
    """Columns, keys, indexes and rights."""
    with fresh_ledger(postgres_url) as database:
        assert tables_page(database) == TABLES.read_text("utf-8"), AGAIN


def test_every_error_has_a_section() -> None:
    """So that a code can be linked to."""
    text = (CHECKOUT / "docs/reference/errors.md").read_text("utf-8")

    assert [each.code for each in error_classes() if f"### {each.code}\n" not in text] == []


def test_the_steps_are_found_by_trying_them() -> None:
    """A few that every reader knows, of either kind; and none after a second end."""
    steps = {(step.kind, step.before, step.event, step.after) for step in explore()}

    assert ("withdraw", "new", "payment.failed by request", "failed") in steps
    assert ("deposit", "processing", "payment.parked", "in_doubt") in steps
    assert ("withdraw", "failed", "payment.succeeded by reconciliation", "succeeded") in steps
    assert {after for _, before, _, after in steps if before == "succeeded"} == {"succeeded"}
    assert "failed --> processing: requeued" in life_sections()["states"]


def test_comments_of_migrations_follow_their_tables() -> None:
    """Under the latest name, with the lines of the comment as one text, and those of indexes too."""
    first = "-- Written once.\n-- Never changed.\nCREATE TABLE one (\n    a text\n);\n"
    first += "\n-- For b.\nCREATE INDEX i ON one (a);\n"
    second = "-- Another word.\n\nALTER TABLE one RENAME TO two;\nALTER TABLE two RENAME COLUMN a TO b;\n"

    assert migration_comments([first, second]) == {"two": "Written once. Never changed.", "i": "For b."}


def test_a_cell_cannot_break_a_table() -> None:
    """A `|` is written so that it is one, and a line break is a blank."""
    assert table(["a"], [("b|c\nd",)]) == "| a |\n| --- |\n| b\\|c d |"
