"""The documents as tests read them: their pages, fenced blocks, headings and links, and commands to be run."""

import re
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

CHECKOUT: Final = Path(__file__).resolve().parents[2]

_FENCE: Final = re.compile(
    r"^(?P<indent> *)```(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
_HEADING: Final = re.compile(r"^#{1,6} +(?P<title>.+?) *#*$", re.MULTILINE)
_LINK: Final = re.compile(r"(?<!\!)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\((?P<target>[^()\s]+)\)")
_CODE: Final = re.compile(r"(?P<ticks>`+)(?P<text>.+?)(?P=ticks)", re.DOTALL)


class Block(NamedTuple):
    """A fenced block: its language, its text, and the line at which it begins."""

    language: str
    text: str
    line: int


class Command(NamedTuple):
    """A command of a `console` block, whole, with the output that the page shows for it."""

    text: str
    expected: str
    line: int


def pages() -> list[Path]:
    """Every page: those at the top and all below `docs/`."""
    top = [CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    return [*top, *sorted((CHECKOUT / "docs").rglob("*.md"))]


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page."""
    return [
        Block(found["language"], found["text"], text.count("\n", 0, found.start()) + 1)
        for found in _FENCE.finditer(text)
    ]


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", text)


def shell_lines(block: Block) -> list[str]:
    """The commands of a `sh` block, each on one line, without comments."""
    joined = re.sub(r"\\\n\s*", "", block.text)
    lines = [re.sub(r"(^|\s+)#.*$", "", line).strip() for line in joined.splitlines()]
    return [line for line in lines if line]


def console_commands(block: Block) -> Iterator[Command]:
    """The commands of a `console` block, whose lines begin with `$`, each with the output that follows it."""
    for number, part in enumerate(re.split(r"^\$ ", block.text, flags=re.MULTILINE)):
        if number == 0:
            assert not part.strip(), f"line {block.line}: output without a command"
            continue
        command, _, expected = re.sub(r"\\\n\s*", "", part).partition("\n")
        yield Command(command, expected.rstrip("\n"), block.line)


def fits(expected: str, printed: str) -> bool:
    """Tell whether an output is as shown: `...` stands for anything, and any blanks for any other blanks."""
    pattern = r"\s+".join(".*?".join(map(re.escape, word.split("..."))) for word in expected.split())
    return re.fullmatch(rf"\s*{pattern}\s*", printed, re.DOTALL) is not None


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them; a second one of a name gets a number."""
    found: set[str] = set()
    for heading in _HEADING.finditer(prose(text)):
        slug = slug_of(heading["title"])
        number = 0
        while (name := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(name)
    return found


def slug_of(title: str) -> str:
    """The anchor of a heading: small letters, blanks as `-`, no punctuation except `-` and `_`."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title)
    kept = "".join(each for each in plain.lower() if each.isalnum() or each in " -_")
    assert not set(kept) & set(string.ascii_uppercase)
    return kept.replace(" ", "-")


def links(text: str) -> list[str]:
    """The targets of a page's links, code left out."""
    return [found["target"] for found in _LINK.finditer(_CODE.sub(_masked, prose(text)))]


def inline_code(text: str) -> list[str]:
    """The pieces of code within a page's sentences and tables."""
    return [found["text"] for found in _CODE.finditer(prose(text))]


def _masked(found: re.Match[str]) -> str:
    return "x" * len(found[0])
