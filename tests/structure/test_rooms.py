"""Rooms: each folder names its purpose and its public modules, and imports go from upper floors to lower ones.

A room is a folder with modules. A file beside rooms, such as `api/app.py`, is a room by itself.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from tests.structure.tree import IMPORTABLE, ROOT, SOURCES, TESTS, imported, module_name, named, over

FLOORS: Final = (
    (
        "ledger.errors",
        "ledger.version",
        "ledger.command_ids",
        "ledger.fail_points",
        "ledger.outages",
        "ledger.micro_batch",
        "ledger.observe",
        "ledger.progress",
    ),
    ("ledger.domain", "ledger.sessions", "ledger.store.migrations"),
    ("ledger.store",),
    ("ledger.recovery",),
    ("ledger.operation",),
    ("ledger.application", "ledger.audit", "ledger.partition", "ledger.writer"),
    ("ledger.export",),
    ("projections.errors", "processors.gateways"),
    ("projections.contract", "processors.payments", "processors.simulators.demo"),
    ("projections.models", "processors.simulators.chaos"),
    ("projections.engine",),
    ("api.errors", "api.settings"),
    ("api.input",),
    ("api.http", "api.runtime.embedded_postgres"),
    ("api.queries", "api.runtime"),
    ("api.auth",),
    ("api.limits",),
    ("api.views", "api.telemetry"),
    ("api.operator",),
    ("api.backups", "api.decisions"),
    ("api.context", "api.openapi"),
    ("api.resources",),
    ("api.resources.decisions",),
    ("api.pages",),
    ("api.direct_routes",),
    ("api.app",),
    ("api.runtime.roles",),
    ("api.cli",),
    ("api.cli.audits", "api.cli.commands", "api.cli.letters"),
)
"""The rooms from the lowest floor up. A room may import rooms of lower floors only."""

FILES_MAX: Final = 14
LINES_MAX: Final = 400

ROOMS: Final = {path.parent for path in SOURCES if path.parent.parent != ROOT}
FLOOR_OF: Final = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def room_of(module: str) -> str:
    """The room of a module. A module beside rooms is one by itself."""
    parent = module.rpartition(".")[0]
    return parent if parent in FLOOR_OF else module


def arrows_up(floors: Mapping[str, int], module: str, source: str) -> set[str]:
    """The imports of a module from other rooms on its own floor or above."""
    found = set()
    for name in imported(source):
        other = next((room for room in (name, *_parents(name)) if room in floors), None)
        if other is not None and other != room_of(module) and floors[other] >= floors[room_of(module)]:
            found.add(name)
    return found


def _parents(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(len(parts) - 1, 0, -1)]


@over([path for path in SOURCES if path.name != "__init__.py"])
def test_imports_go_from_upper_floors_to_lower_ones(path: Path) -> None:
    """So there can be no cycle between rooms either."""
    module = module_name(path)

    assert room_of(module) in FLOOR_OF, "a new room gets a place in FLOORS"
    assert arrows_up(FLOOR_OF, module, path.read_text("utf-8")) == set()


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("ledger.domain.money", "from ledger.store.log import Head"),
        ("ledger.audit.verify", "from ledger.writer import writer"),
        ("api.http.cursors", "def late():\n    from api.app import create_app\n"),
        ("api.errors", "import api.settings"),
        ("projections.contract.log_page", "from projections.models.registry import GROUPS"),
    ],
)
def test_an_arrow_up_is_found(module: str, source: str) -> None:
    """The rule covers rooms of one floor, and imports inside a function."""
    assert arrows_up(FLOOR_OF, module, source)


def test_an_arrow_down_or_inside_a_room_is_allowed() -> None:
    """Imports from other libraries are allowed too."""
    source = "from ledger.domain.money import amount\nfrom ledger.store import log\nimport psycopg"

    assert arrows_up(FLOOR_OF, "ledger.store.history", source) == set()


def offered(room: Path) -> list[str]:
    """The names in a room's `__all__`, which others may use."""
    for node in ast.parse((room / "__init__.py").read_text("utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__all__")], value=ast.List(elts=names)):
                return [str(ast.literal_eval(name)) for name in names]
            case _:
                pass
    return []


def bound_in(source: str) -> set[str]:
    """The names that a package takes over from its modules."""
    found = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom)]
    return {alias.asname or alias.name for node in found for alias in node.names}


def used_from(room: Path, sources: Mapping[str, str]) -> set[str]:
    """The modules of a room, and the names in its package, that other rooms import, by the sources of all modules."""
    package = module_name(room / "__init__.py")
    modules = {path.stem for path in room.glob("*.py")} | bound_in((room / "__init__.py").read_text("utf-8"))
    found = set()
    for module, source in sources.items():
        if module.rpartition(".")[0] == package or module == package:
            continue
        for name in imported(source):
            if name.startswith(f"{package}."):
                found |= {name.removeprefix(f"{package}.").split(".")[0]} & modules
    return found


@pytest.mark.parametrize("room", sorted(ROOMS), ids=named)
def test_a_room_offers_only_modules_that_others_use(room: Path) -> None:
    """Its `__all__` names what other rooms import, modules or names, and nothing else."""
    sources = {module_name(path): path.read_text("utf-8") for path in SOURCES}

    assert sorted(offered(room)) == sorted(used_from(room, sources))


def test_uses_from_other_rooms_are_found() -> None:
    """The rule finds imports of whole modules and of names in them, from other rooms only."""
    sources = {
        "api.app": "from api.http.cursors import read_cursor\nfrom api.http import times",
        "api.http.problems": "from api.http.amounts import decimal",
    }

    assert used_from(ROOT / "api/http", sources) == {"cursors", "times"}


@pytest.mark.parametrize("room", sorted(ROOMS), ids=named)
def test_a_room_says_what_it_is_for(room: Path) -> None:
    """The docstring of its package has at least a sentence about it."""
    docstring = ast.get_docstring(ast.parse((room / "__init__.py").read_text("utf-8"))) or ""

    assert len(docstring.split()) >= 8


@pytest.mark.parametrize("room", sorted({path.parent for path in [*SOURCES, *TESTS]}), ids=named)
def test_a_room_has_few_files(room: Path) -> None:
    """It has at most FILES_MAX files."""
    assert len(list(room.glob("*.py"))) <= FILES_MAX


@over([*SOURCES, *TESTS])
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    """No file of the service or of the tests is longer than LINES_MAX lines."""
    assert len(path.read_text("utf-8").splitlines()) <= LINES_MAX


def test_every_package_is_known() -> None:
    """The floors list exactly the rooms of the tree."""
    rooms = {module_name(room / "__init__.py") for room in ROOMS if list(room.glob("[!_]*.py"))}

    assert rooms <= set(FLOOR_OF)
    assert {room.split(".")[0] for room in FLOOR_OF} == set(IMPORTABLE)
