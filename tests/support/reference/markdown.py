"""Pieces of Markdown that all generated pages are made of."""

import inspect
import re
from collections.abc import Iterable, Sequence

GENERATED = "<!-- Written by `python -m tests.support.reference`. Change the code it describes, then run it again. -->"


def page(title: str, introduction: str, sections: Iterable[str]) -> str:
    """Put a page together: its title, the note that it is generated, an introduction, and sections."""
    return "\n\n".join([f"# {title}", GENERATED, introduction, *sections]) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table; a `|` or a line break in a cell does not break it."""
    lines = [_row(columns), _row(["---"] * len(columns)), *(_row([cell(text) for text in row]) for row in rows)]
    return "\n".join(lines)


def cell(text: str) -> str:
    """Make a text fit for a cell of a table."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def code(text: str) -> str:
    """Write a word as code; nothing stays nothing."""
    return f"`{text}`" if text else ""


def docstring(subject: object) -> str:
    """Give a docstring as paragraphs, each on one line."""
    text = inspect.getdoc(subject) or ""
    return "\n\n".join(re.sub(r"\s+", " ", paragraph) for paragraph in text.split("\n\n"))


def between(text: str, name: str) -> tuple[str, str, str]:
    """Cut a page at the generated section of a name: the text before it, the section, and the text after it."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    before, found_begin, rest = text.partition(begin)
    section, found_end, after = rest.partition(end)
    assert found_begin, f"the page has no {begin}"
    assert found_end, f"the page has no {end}"
    return before + begin, section, end + after


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
