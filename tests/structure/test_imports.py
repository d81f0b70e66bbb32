"""Which packages import which, and which modules may use the outside world.

Each rule is a small function over source text that returns offences. A test shows that it finds one.
"""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.structure.tree import IMPORTABLE, ROOT, SOURCES, imported, module_name, over


def forbidden_imports(package: str, source: str) -> set[str]:
    """The imports of a file that its package does not allow."""
    ours = {name for name in imported(source) if name.split(".")[0] in {*IMPORTABLE, "tests"}}
    relative = imported(source) & {"a relative import"}
    return {name for name in ours if name.split(".")[0] not in IMPORTABLE[package]} | relative


@over(SOURCES)
def test_imports_go_in_one_direction(path: Path) -> None:
    """All packages import `ledger`, `api` imports all packages, and none imports the tests."""
    package = path.relative_to(ROOT).parts[0]

    assert forbidden_imports(package, path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("package", "source"),
    [
        ("ledger", "import projections.journal"),
        ("ledger", "from processors import worker"),
        ("ledger", "def late():\n    from api.app import create_app\n"),
        ("projections", "from processors.worker import Worker"),
        ("processors", "from projections import projector"),
        ("processors", "import api"),
        ("api", "from tests.databases import fresh_ledger"),
        ("api", "from . import app"),
    ],
)
def test_an_import_against_the_direction_is_found(package: str, source: str) -> None:
    """This holds inside a function too."""
    assert forbidden_imports(package, source)


def import_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a cycle. Empty if there are none."""
    done: set[str] = set()

    def circle_from(module: str, way: list[str]) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph[module] & graph.keys()):
            if other != module and (found := circle_from(other, [*way, module])):
                return found
        done.add(module)
        return []

    return next((found for module in sorted(graph) if (found := circle_from(module, []))), [])


@pytest.mark.parametrize("package", IMPORTABLE)
def test_no_two_modules_import_each_other(package: str) -> None:
    """This includes longer cycles: a module imports only modules below it."""
    graph = {
        module_name(path): imported(path.read_text("utf-8"), at_start_only=True)
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
    }

    assert import_cycle(graph) == []


def test_a_cycle_is_found() -> None:
    """A cycle of three modules is found, and named in order."""
    graph = {"p.a": {"p.b"}, "p.b": {"p.c", "os"}, "p.c": {"p.a"}, "p.d": {"p.a"}}

    assert import_cycle(graph) == ["p.a", "p.b", "p.c", "p.a"]
    assert import_cycle({**graph, "p.c": set()}) == []


PURE: Final = sorted(
    [
        *(ROOT / "ledger/domain").glob("*.py"),
        *(ROOT / f"ledger/{name}.py" for name in ("errors", "store/hash_chain", "store/serialization")),
        ROOT / "ledger/writer/aggregate_cache.py",
    ]
)
"""The modules that decide, and those that convert events to bytes, seals and states."""

OUTSIDE_WORLD: Final = {
    *("asyncio", "httpx", "os", "psycopg", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid4"),
}


@over(PURE)
def test_deciding_modules_use_no_clock_randomness_or_network(path: Path) -> None:
    """Time, ids and randomness are arguments, so that a test or a replay can choose them."""
    source = path.read_text("utf-8")

    assert {name.split(".")[0] for name in imported(source)} & OUTSIDE_WORLD == set()
    assert not re.search(r"\b(uuid[14]|now|utcnow|today|time_ns|monotonic)\(", source)


def test_the_payment_process_uses_no_clock_randomness_or_network() -> None:
    """The next step is a function of the gateway's answer."""
    for name in ("payments/process", "payments/retry_policy", "gateways/outcomes"):
        source = (ROOT / f"processors/{name}.py").read_text("utf-8")

        assert {module.split(".")[0] for module in imported(source)} & OUTSIDE_WORLD == set()
