"""Prose is plain: few sentences have a construction that makes a native reader stop, and their share may only fall."""

from collections import Counter
from pathlib import Path
from typing import Final

import pytest

from tests.structure.prose import PATTERNS, prose_of, sentences, stumbles
from tests.structure.tree import MIGRATIONS, ROOT, SOURCES, STATEMENTS, TESTS, named

SHARE_MAX: Final = 0.0022
"""The largest share of all sentences that may have one. Lower it whenever the share has fallen."""

PROSE: Final = [
    *SOURCES,
    *TESTS,
    *STATEMENTS,
    *MIGRATIONS,
    *ROOT.glob("*.md"),
    *ROOT.glob("docs/**/*.md"),
]


def test_few_sentences_make_a_reader_stop() -> None:
    """Docstrings, comments and documents count together. A failure names the files with the most such sentences."""
    counted: Counter[str] = Counter()
    stopping: Counter[str] = Counter()
    for path in PROSE:
        for sentence in (each for prose in prose_of(path) for each in sentences(prose)):
            counted[named(path)] += 1
            stopping[named(path)] += bool(stumbles(sentence))

    assert counted.total() > 4_000
    assert stopping.total() / counted.total() <= SHARE_MAX, stopping.most_common(10)


@pytest.mark.parametrize(
    ("sentence", "pattern"),
    [
        ("What comes in company gathers for a moment.", "a clause in place of a noun"),
        ("Whoever hangs with the head locked loses the session.", "a clause in place of a noun"),
        ("The writer takes what has come in.", "a clause in place of a noun"),
        ("There is no such user, and 3 is no amount.", "is no"),
        ("It reads nothing but the log.", "but for except"),
        ("The writer does not wait, nor does it ask.", "an inversion"),
        ("The models are made anew.", "anew, meanwhile"),
        ("It was refused for want of money.", "for want of"),
        ("The key has to be printable.", "has to be"),
        ("The row lies behind the index.", "lies behind"),
        ("An operator decides, and his name is kept.", "he for people"),
    ],
)
def test_a_sentence_that_makes_a_reader_stop_is_found(sentence: str, pattern: str) -> None:
    """The construction is named."""
    assert pattern in stumbles(sentence)


@pytest.mark.parametrize(
    "sentence",
    [
        "Isolate the command that hit a bug by retrying one by one.",
        "A session that stalls while holding the head lock is terminated after 5 s.",
        "The database cannot be reached.",
        "What is this?",
    ],
)
def test_a_plain_sentence_is_left_alone(sentence: str) -> None:
    """Its parts are subject, verb and object."""
    assert stumbles(sentence) == []


def test_each_pattern_has_a_sentence() -> None:
    """A pattern that matches nothing would check nothing."""
    source = Path(__file__).read_text("utf-8")

    assert [name for name in PATTERNS if f'"{name}"' not in source] == []
