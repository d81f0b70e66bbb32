"""The examples of CONTRIBUTING, carried out in a copy of the tree: what it says is enough."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.support.documents import CHECKOUT

TEXT: Final = (CHECKOUT / "CONTRIBUTING.md").read_text("utf-8")

COPIED: Final = ("ledger", "projections", "processors", "api", "tests", "docs", "deploy", ".ci")
FILES_MAX: Final = 4
"""How many files somebody may have to write by hand to add a thing."""

_EXAMPLE: Final = re.compile(
    r"^(?P<indent> *)<!-- example: (?P<path>[\w/.]+)(?:, behind: (?P<behind>.+?))? -->\n"
    r" *```\w*\n(?P<code>.*?)^ *```$",
    re.MULTILINE | re.DOTALL,
)

pytestmark = pytest.mark.timeout(600)


class Example(NamedTuple):
    """A piece of code of the page: for a new file, or to stand behind a line of one that is there."""

    path: str
    behind: str | None
    code: str


def examples() -> dict[str, list[Example]]:
    """The examples by the heading of their section."""
    found: dict[str, list[Example]] = {}
    for section in re.split(r"^### ", TEXT, flags=re.MULTILINE)[1:]:
        for each in _EXAMPLE.finditer(section):
            code = re.sub(rf"^{each['indent']}", "", each["code"], flags=re.MULTILINE)
            found.setdefault(section.splitlines()[0], []).append(Example(each["path"], each["behind"], code))
    return found


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The tree, without what the tools have made."""
    there = tmp_path / "tree"
    there.mkdir()
    for name in COPIED:
        shutil.copytree(CHECKOUT / name, there / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in CHECKOUT.iterdir():
        if path.is_file() and path.name not in {".git", ".env"}:
            shutil.copy2(path, there / path.name)
    return there


def apply(example: Example, tree: Path) -> None:
    """Write an example into a tree."""
    path = tree / example.path
    if example.behind is None:
        path.write_text(example.code, "utf-8")
        return
    lines = path.read_text("utf-8").splitlines(keepends=True)
    (place,) = (number for number, line in enumerate(lines) if line.strip() == example.behind)
    path.write_text("".join([*lines[: place + 1], example.code, *lines[place + 1 :]]), "utf-8")


def run(tree: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module with the copy's code, and not with ours."""
    command = [sys.executable, "-P", "-m", *words]
    environment = {"PYTHONPATH": str(tree), "PATH": "/usr/bin:/bin", "HOME": str(tree)}
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)


def test_the_examples_are_enough(copy: Path) -> None:
    """After them, the tree is in order: the pages are written again, and the tests of its structure pass.

    All are in one copy, because these tests take minutes.
    """
    applied = [example for found in examples().values() for example in found]
    for example in applied:
        apply(example, copy)

    written = [run(copy, "api.settings.files"), run(copy, "tests.support.reference")]
    linted = run(copy, "ruff", "check", "--no-cache", *{each.path for each in applied if each.path.endswith(".py")})
    tested = run(copy, "pytest", "-q", "-p", "no:cacheprovider", "-m", "structure", "tests/structure")

    assert len(examples()) > 1
    assert [done.stderr for done in written if done.returncode != 0] == []
    assert linted.returncode == 0, linted.stdout
    assert tested.returncode == 0, tested.stdout[-5000:]


def test_half_of_an_example_is_not_enough(copy: Path) -> None:
    """The test that the section names fails when a step is forgotten, and passes when none is."""
    name, place = examples()["Add a fail point"]
    test = ("pytest", "-q", "-p", "no:cacheprovider", "tests/ledger/test_fail_points.py")

    apply(name, copy)
    half = run(copy, *test)
    apply(place, copy)
    whole = run(copy, *test)

    assert half.returncode == 1, half.stdout
    assert whole.returncode == 0, whole.stdout


def test_an_example_takes_few_files() -> None:
    """Else the tree has become a bad place to add things to."""
    by_hand = {section: {each.path for each in found} for section, found in examples().items()}

    assert by_hand
    assert {section: paths for section, paths in by_hand.items() if len(paths) > FILES_MAX} == {}
