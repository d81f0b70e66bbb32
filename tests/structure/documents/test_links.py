"""The documents hang together: each link leads to a page and a heading, and the README leads to every page."""

import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.support.documents import CHECKOUT, anchors, blocks, links, pages

README: Final = CHECKOUT / "README.md"
README_LINES_MAX: Final = 150
DECISIONS: Final = CHECKOUT / "docs/decisions"

DIAGRAMS: Final = ("flowchart ", "stateDiagram-v2", "sequenceDiagram")


def named(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


def over(paths: list[Path]) -> pytest.MarkDecorator:
    """One case for each page."""
    return pytest.mark.parametrize("path", paths, ids=named)


def is_elsewhere(target: str) -> bool:
    """Whether a link leads out of the documents."""
    return re.match(r"[a-z]+:", target) is not None


def targets(path: Path, text: str) -> Iterator[tuple[Path, str]]:
    """The pages to which a page's links lead, each with the heading's anchor, which may be empty."""
    for target in links(text):
        if not is_elsewhere(target):
            file, _, anchor = target.partition("#")
            yield (path.parent / file).resolve() if file else path, anchor


def broken_links(path: Path, text: str) -> list[str]:
    """Links that lead to no file, or to no heading of it."""
    found = []
    for file, anchor in targets(path, text):
        if not file.exists():
            found.append(f"{file} is not there")
        elif anchor and anchor not in anchors(text if file == path else file.read_text("utf-8")):
            found.append(f"{named(file)} has no heading for #{anchor}")
    return found


@over(pages())
def test_every_link_leads_somewhere(path: Path) -> None:
    """To a file that is there, and to a heading in it where one is named."""
    assert broken_links(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "text",
    [
        "[a](nothing.md)",
        "[a](docs/tutorial.md#nothing)",
        "[a](#nothing)\n\n# Something",
        "| [a](../README.md) |",
        "[`a`](docs/nothing.md)",
    ],
)
def test_a_link_that_leads_nowhere_is_found(text: str) -> None:
    """To no file, or to no heading."""
    assert broken_links(README, text)


@pytest.mark.parametrize(
    "text",
    [
        "[a](docs/tutorial.md)",
        "[a](docs/tutorial.md#2-open-a-user)",
        "[a](#some-thing)\n\n## Some *thing*",
        "[a](https://example.org/nothing.md)",
        "`[a](nothing.md)`",
        "```\n[a](nothing.md)\n```",
        "[a](#a-1)\n\n# A\n\n# A",
        "[a](docs/reference/errors.md#insufficient_funds)",
    ],
)
def test_a_link_that_leads_somewhere_is_left_alone(text: str) -> None:
    """Other sites are not asked, and code is not a link."""
    assert broken_links(README, text) == []


def misnamed_decisions(text: str) -> list[str]:
    """Links whose text is the number of another decision than the one to which they lead."""
    found = re.finditer(r"\[([0-9]{4})\]\((?:[^()\s]*/)?([0-9]{4})-[^()\s]*\)", text)
    return [link[0] for link in found if link[1] != link[2]]


@over(pages())
def test_a_decision_is_linked_by_its_own_number(path: Path) -> None:
    """The numbers of decisions have changed before, and only the file's name is checked by every link."""
    assert misnamed_decisions(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "misnamed"),
    [
        ("([0097](../decisions/0088-the-process-limits-each-answer.md))", True),
        ("| [0002](0001-a.md) |", True),
        ("([0088](../decisions/0088-the-process-limits-each-answer.md))", False),
        ("[2026](https://example.org/2026-11)", False),
    ],
)
def test_a_decision_under_another_number_is_found(text: str, misnamed: bool) -> None:  # noqa: FBT001 - a column of the table
    """Wherever the page lies that links to it."""
    assert bool(misnamed_decisions(text)) is misnamed


def test_every_page_can_be_reached_from_the_readme() -> None:
    """A page to which nothing leads is read by nobody."""
    reached = {README}
    waiting = deque(reached)
    while waiting:
        path = waiting.popleft()
        for file, _ in targets(path, path.read_text("utf-8")):
            if file.suffix == ".md" and file.exists() and file not in reached:
                reached.add(file)
                waiting.append(file)

    assert [named(path) for path in pages() if path not in reached] == []


def test_the_readme_is_short() -> None:
    """A topic that needs more room has a page of its own."""
    assert len(README.read_text("utf-8").splitlines()) <= README_LINES_MAX


@over(pages())
def test_every_page_has_one_title_and_every_diagram_a_kind(path: Path) -> None:
    """A fence that is not closed, or a diagram that nobody can draw, is found here."""
    text = path.read_text("utf-8")
    diagrams = [block.text for block in blocks(text) if block.language == "mermaid"]

    assert text.startswith("# ")
    assert text.count("```") == 2 * len(blocks(text))
    assert [diagram for diagram in diagrams if not diagram.startswith(DIAGRAMS)] == []


def test_every_decision_is_numbered_dated_and_listed() -> None:
    """In the order of their numbers, each with its four sections."""
    paths = sorted(DECISIONS.glob("[0-9]*.md"))
    index = (DECISIONS / "README.md").read_text("utf-8")

    assert [path.name[:4] for path in paths] == [f"{number:04d}" for number in range(1, len(paths) + 1)]
    for path in paths:
        title, _, date, *rest = path.read_text("utf-8").splitlines()
        sections = [line for line in rest if line.startswith("## ")]
        assert sections == ["## Context", "## Choice", "## Measured", "## Costs"], path.name
        assert f"| [{path.name[:4]}]({path.name}) | {date} | {title.partition('. ')[2]} |" in index
        assert re.fullmatch(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}", date), path.name
