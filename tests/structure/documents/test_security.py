"""The page on security goes through every point and every requirement, and names tests that exist."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

import pytest

from tests.structure.tree import ROOT

PAGE: Final = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED: Final = sorted(set(re.findall(r"`([\w/.]+::test_\w+)`", PAGE)))

_COUNTS: Final = """
    1.1:2 1.2:9 1.3:11 1.4:3 1.5:2 2.1:3 2.2:3 2.3:4 2.4:1 3.2:2 3.3:4 3.4:6 3.5:5 3.7:2 4.1:3 4.2:1
    4.3:2 4.4:4 5.1:1 5.2:3 5.3:2 5.4:3 6.1:3 6.2:12 6.3:4 6.4:4 6.5:5 6.6:3 6.8:4 7.1:3 7.2:4 7.3:2
    7.4:5 7.5:2 7.6:2 8.1:2 8.2:3 8.3:1 8.4:1 9.1:3 9.2:4 10.1:2 10.2:2 10.3:4 10.4:11 10.5:5 10.6:2
    10.7:3 11.1:2 11.2:3 11.3:3 11.4:4 11.5:1 11.6:1 12.1:3 12.2:2 12.3:4 13.1:1 13.2:5 13.3:2 13.4:5
    14.1:2 14.2:4 14.3:3 15.1:3 15.2:3 15.3:7 16.1:1 16.2:5 16.3:4 16.4:3 16.5:3 17.1:1 17.2:4 17.3:2
"""
REQUIREMENTS: Final[Mapping[str, int]] = {
    section: int(count) for section, _, count in (word.partition(":") for word in _COUNTS.split())
}
"""How many requirements of levels 1 and 2 each section of ASVS 5.0.0 has; they are its first ones."""

_RANGE: Final = re.compile(r"(\d+\.\d+)\.(\d+)(?: to \1\.(\d+))?")
_TEST: Final = r"`[\w/.]+::test_\w+`"


def treated(page: str) -> Counter[str]:
    """The requirements that the first cells of a page's rows name, also in lists and ranges."""
    found: Counter[str] = Counter()
    for cell in re.findall(r"^\| ((?:\d+\.\d+\.\d+(?: to |, )?)+) \|", page, re.MULTILINE):
        for section, first, last in _RANGE.findall(cell):
            found.update(f"{section}.{number}" for number in range(int(first), int(last or first) + 1))
    return found


@pytest.mark.parametrize("name", NAMED)
def test_a_named_test_exists(name: str) -> None:
    """A test that moves or gets another name must do so on the page too."""
    path, _, function = name.partition("::")

    assert re.search(rf"^ *(?:async )?def {function}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@pytest.mark.parametrize("point", [f"API{number}" for number in range(1, 11)])
def test_every_point_has_a_test_or_says_that_it_is_not_covered(point: str) -> None:
    """A point without either would look as if it were held."""
    (row,) = re.findall(rf"^\| {point} .*$", PAGE, re.MULTILINE)

    assert re.fullmatch(rf"not covered|{_TEST}(, {_TEST})*", row.rstrip("| ").rpartition("|")[2].strip())


@pytest.mark.parametrize("row", re.findall(r"^\| \d+\.\d+\.\d+ \| [12] \|.*$", PAGE, re.MULTILINE))
def test_every_requirement_has_a_test_or_says_that_it_has_none(row: str) -> None:
    """Five cells: the number, the level, what it asks, how it is met, and the tests."""
    cells = [cell.strip() for cell in row.strip("| ").split(" | ")]

    assert len(cells) == 5
    assert re.fullmatch(rf"no test|not covered|{_TEST}(, {_TEST})*", cells[-1])


def test_every_requirement_of_levels_1_and_2_is_treated_once() -> None:
    """As a row, or among those that do not apply."""
    wanted = [f"{section}.{number}" for section, count in REQUIREMENTS.items() for number in range(1, count + 1)]

    assert len(wanted) == 253
    assert treated(PAGE) == Counter(wanted)


def test_lists_and_ranges_are_read() -> None:
    """A requirement that stands twice counts twice."""
    page = "| 1.2.3 | 1 | a |\n| 1.2.3, 4.5.6 to 4.5.8 | why |\n| words | why |\n"

    assert treated(page) == Counter({"1.2.3": 2, "4.5.6": 1, "4.5.7": 1, "4.5.8": 1})


def test_a_scan_without_network_is_not_claimed() -> None:
    """The page says plainly that it is not made here."""
    assert "needs a database of them, and so the network" in PAGE
