"""The page of clocks names every place at which the program compares a time, and a test for each that can be set."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.structure.tree import ROOT, SOURCES, STATEMENTS, TESTS, over
from tests.support.documents import CHECKOUT, links

PAGE: Final = CHECKOUT / "docs/internals/clocks.md"

_CLOCK: Final = r"(?:now|clock_timestamp)\(\)"
_COMPARED: Final = re.compile(
    rf"[<>]=?\s*{_CLOCK}|{_CLOCK}\s*[<>]|BETWEEN\s+{_CLOCK}|BETWEEN\s[^;]*?\sAND\s+{_CLOCK}|{_CLOCK} -|- {_CLOCK}"
)
_STEADY: Final = re.compile(r"\btime\.(?:monotonic|perf_counter|time)\b|datetime\.now\b")


def linked() -> set[Path]:
    return {(PAGE.parent / target).resolve() for target in links(PAGE.read_text("utf-8"))}


def of_the_service(path: Path) -> bool:
    """Whether a file belongs to the service: a simulated gateway has clocks of its own, and tests have others."""
    parts = path.relative_to(ROOT).parts
    return parts[0] in {"api", "ledger", "processors", "projections"} and "simulators" not in parts


def compares_the_clock(statements: str) -> bool:
    """Whether a file of SQL compares a time with the database's clock."""
    return _COMPARED.search(re.sub(r"--[^\n]*", "", statements)) is not None


@over([path for path in STATEMENTS if of_the_service(path)])
def test_every_statement_that_compares_the_clock_is_on_the_page(path: Path) -> None:
    """With what a step of the clock does to it."""
    assert not compares_the_clock(path.read_text("utf-8")) or path in linked()


@over([path for path in SOURCES if of_the_service(path)])
def test_every_module_that_reads_a_clock_is_on_the_page(path: Path) -> None:
    """With whose clock it is."""
    assert _STEADY.search(path.read_text("utf-8")) is None or path in linked()


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 1 WHERE due_at <= now()", True),
        ("SELECT 1 WHERE at BETWEEN clock_timestamp() - %(fresh)s AND %(then)s", True),
        ("SELECT 1 WHERE now() > due_at", True),
        ("SELECT 1 WHERE at BETWEEN %(first)s\n AND now()", True),
        ("SELECT now() - at", True),
        ("SELECT at - now()", True),
        ("UPDATE t SET at = now() + %(lease)s", False),
        ("-- at < now()\nSELECT 1", False),
    ],
)
def test_comparisons_are_told_from_other_uses(statement: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """A time that is only stored is compared elsewhere."""
    assert compares_the_clock(statement) == expected


def test_the_tests_on_the_page_exist() -> None:
    """Each is the test of a row."""
    told = set(re.findall(r"`(test_\w+)`", PAGE.read_text("utf-8")))
    defined = {name for path in TESTS for name in re.findall(r"def (test_\w+)\(", path.read_text("utf-8"))}

    assert told
    assert told <= defined


def test_every_row_about_the_databases_clock_has_a_test() -> None:
    """A row without one says what nobody has seen."""
    section = PAGE.read_text("utf-8").partition("## The database's clock")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]

    assert len(rows) >= 9
    assert [row for row in rows if "`test_" not in row] == []
