"""The files that the rules of structure apply to, and how their imports are read."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]

IMPORTABLE: Final = {
    "ledger": {"ledger"},
    "projections": {"projections", "ledger"},
    "processors": {"processors", "ledger"},
    "api": {"api", "projections", "processors", "ledger"},
}
"""The packages of ours that each package may import."""

SOURCES: Final = sorted(path for package in IMPORTABLE for path in (ROOT / package).rglob("*.py"))
BENCHMARKS: Final = sorted(
    path for path in (ROOT / "tests/benchmarks").rglob("*.py") if not path.name.startswith(("test_", "conftest"))
)
"""Programs of the benchmark, which are not tests. The same rules apply to their names and their code."""

STATEMENTS: Final = sorted(
    path
    for folder in (*IMPORTABLE, "tests/benchmarks")
    for path in (ROOT / folder).rglob("*.sql")
    if path.parent.name != "migrations"
)
MIGRATIONS: Final = sorted(ROOT.glob("*/*/migrations/*.sql"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))


def named(path: Path) -> str:
    """A file's path from the root of the checkout."""
    return path.relative_to(ROOT).as_posix()


def over(paths: list[Path]) -> pytest.MarkDecorator:
    """Make one case for each file."""
    return pytest.mark.parametrize("path", paths, ids=named)


def module_name(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, *, at_start_only: bool = False) -> set[str]:
    """The modules that a file imports, also inside its functions unless only those at the program's start count.

    `from a import b` gives both `a` and `a.b`, because b may be a module. An import under TYPE_CHECKING does not run at
    start.
    """
    names = set()
    for node in imports_at_start(ast.parse(source)) if at_start_only else ast.walk(ast.parse(source)):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
            case ast.ImportFrom():
                names.add("a relative import")
            case _:
                pass
    return names


def imports_at_start(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run when a module is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from imports_at_start(child)
