"""The names of files and things, and the docstring of each module."""

import ast
import re
from pathlib import Path
from typing import Final

import pytest

from tests.structure.tree import (
    BENCHMARKS,
    IMPORTABLE,
    MIGRATIONS,
    ROOT,
    SOURCES,
    STATEMENTS,
    TESTS,
    imported,
    over,
)

BANNED_FILES: Final = {"utils", "util", "common", "helpers", "helper", "core", "base", "misc", "services"}
SYNONYMS: Final = {
    "wallet": "account",
    "wallets": "accounts",
    "transfer": "payment",
    "transfers": "payments",
    "order": "payment",
    "orders": "payments",
    "job": "queue entry",
    "jobs": "queue entries",
    "task": "queue entry",
    "tasks": "queue entries",
}


def words(identifier: str) -> set[str]:
    """Split a name into words: `makeOrder_now` gives make, order and now."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def defined(source: str) -> set[str]:
    """The names that a file defines: classes, functions, parameters, variables and fields."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                names.add(name)
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.alias(asname=str(name)):
                names.add(name)
            case _:
                pass
    return names


def banned_names(source: str) -> set[str]:
    """Names with a synonym for one of our words. Tasks of asyncio and of a progress bar are allowed."""
    synonyms = set(SYNONYMS)
    if imported(source) & {"asyncio", "rich.progress"}:
        synonyms -= {"task", "tasks"}
    return {name for name in defined(source) if words(name.replace("in_order", "")) & synonyms}


@over([*SOURCES, *BENCHMARKS, *STATEMENTS])
def test_a_file_is_named_for_a_thing_of_the_business_or_a_part_of_the_machine(path: Path) -> None:
    """A name such as utils could hold anything."""
    assert not {word for part in path.relative_to(ROOT).parts for word in re.split(r"[_.]", part)} & BANNED_FILES


@over([*SOURCES, *BENCHMARKS])
def test_one_thing_has_one_name(path: Path) -> None:
    """Account, payment and queue entry have no synonyms such as wallet, transfer, order, job or task."""
    assert banned_names(path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "class Wallet: ...",
        "def make_transfer(): ...",
        "def f(order): ...",
        "jobs = []",
        "self.task_id = 1",
        "import m as orders",
        "match x:\n    case C(a=order): ...",
        "class OrderPlaced: ...",
        "async def run_job(): ...",
    ],
)
def test_a_synonym_is_found(source: str) -> None:
    """The rule finds synonyms wherever a name is defined."""
    assert banned_names(source)


@pytest.mark.parametrize(
    "source",
    [
        "import asyncio\ntask = asyncio.create_task(x())",
        "border = reorder_point",
        "ledger.order_by(x)",
        "def in_order(): ...",
    ],
)
def test_names_of_other_libraries_are_allowed(source: str) -> None:
    """An asyncio task is a task, and others have named the methods that we call."""
    assert banned_names(source) == set()


@over([*SOURCES, *TESTS])
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """The purpose is in its docstring. Folders of tests are explained by the folders that they mirror."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))

    assert docstring or (path.name == "__init__.py" and path.is_relative_to(ROOT / "tests"))


@pytest.mark.parametrize("package", IMPORTABLE)
def test_every_package_opens_with_a_few_sentences(package: str) -> None:
    """A newcomer learns the package's purpose before reading a file of it."""
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))) or ""

    assert len(docstring.split()) >= 10


@over([*SOURCES, *TESTS, *STATEMENTS, *MIGRATIONS])
def test_nothing_is_left_for_later_in_the_code(path: Path) -> None:
    """Open work belongs in the issues."""
    found = re.findall(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX:|HA" + r"CK)\b", path.read_text("utf-8"))

    assert found == []
