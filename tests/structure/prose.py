"""Finds the prose of the project, and the constructions in it that make a reader stop."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

PATTERNS: Final = {
    "a clause in place of a noun": re.compile(
        r"^(?:And |But |So |Then )?(?:What|Whatever|Whoever|Whichever|Who)\b(?!.*\?$)"
        r"|\b(?:what|whatever|whoever) (?:is|are|was|were|has|have|had|can|could|may|might|must|will|would|does|did|do"
        r"|came|went|\w+s)\b"
    ),
    "is no": re.compile(r"\b(?:is|are|was|were) no\b(?! longer| more than)"),
    "but for except": re.compile(
        r"\b(?:nothing|nobody|none|all|everything|everybody|anything|any|every \w+|no \w+) but\b", re.IGNORECASE
    ),
    "an inversion": re.compile(
        r"(?:^|[,;:] (?:and )?)(?:so|nor|neither|only then|never) (?:is|are|does|do|did|has|have|can|may|was)\b",
        re.IGNORECASE,
    ),
    "anew, meanwhile": re.compile(r"\b(?:anew|meanwhile)\b", re.IGNORECASE),
    "for want of": re.compile(r"\bfor want of\b", re.IGNORECASE),
    "has to be": re.compile(r"\b(?:has|have|had) to be\b"),
    "lies behind": re.compile(r"\b(?:lies?|lay) (?:behind|beside|before|in|on|over|above|below|apart)\b"),
    "he for people": re.compile(r"\b(?:he|his|him|himself)\b"),
}
"""The constructions that make a native reader stop, by name."""

_SENTENCE_END: Final = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z`\"'(])|\n\s*\n|\n\s*[*-] ")
_CODE: Final = re.compile(r"```.*?```|`[^`]*`|\"[^\"\n]*\"", re.DOTALL)


def prose_of(path: Path) -> Iterator[str]:
    """The pieces of prose in a file: docstrings and comments of Python, comments of SQL, the text of Markdown."""
    text = path.read_text("utf-8")
    match path.suffix:
        case ".py":
            yield from _docstrings(text)
            yield from _comments(text)
        case ".sql":
            yield from _joined(re.findall(r"^\s*-- ?(?!name:)(.*)$|^.+()$", text, re.MULTILINE))
        case _:
            yield "\n\n".join(line for line in _CODE.sub(" x ", text).split("\n\n") if not line.startswith("|"))


def _docstrings(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def _comments(text: str) -> Iterator[str]:
    last, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#!|# (?:---|noqa|type:|fmt:)", token.string):
            said = re.sub(r"^# ?|(?:  )?# noqa:[^-]*- ?", "", token.string)
            if token.start[0] != last + 1 and lines:
                yield " ".join(lines)
                lines = []
            lines.append(said)
            last = token.start[0]
    if lines:
        yield " ".join(lines)


def _joined(found: list[tuple[str, str]]) -> Iterator[str]:
    lines = list[str]()
    for comment, _ in found:
        if comment:
            lines.append(comment)
        elif lines:
            yield " ".join(lines)
            lines = []
    if lines:
        yield " ".join(lines)


def sentences(prose: str) -> list[str]:
    """Split prose into sentences, with quoted code replaced by `x`."""
    plain = _CODE.sub("x", prose)
    return [" ".join(each.split()) for each in _SENTENCE_END.split(plain) if len(each.split()) > 2]


def stumbles(sentence: str) -> list[str]:
    """Name the constructions in a sentence that make a reader stop."""
    return [name for name, pattern in PATTERNS.items() if pattern.search(sentence)]
