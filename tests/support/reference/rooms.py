"""The generated section of the page on the architecture: every room, its purpose, and the rooms that it imports."""

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

from tests.support.reference.markdown import code, table

CHECKOUT: Final = Path(__file__).resolve().parents[3]
PACKAGES: Final = ("ledger", "projections", "processors", "api")


def rooms_sections() -> dict[str, str]:
    """Write the section, by the name that the page's markers have."""
    arrows = room_arrows()
    rows = [(code(f"{room}/"), _about(room), _named(arrows[room])) for room in sorted(arrows, key=_rank)]
    return {"rooms": table(["room", "purpose", "imports from"], rows)}


def room_arrows() -> dict[str, set[str]]:
    """Give, for each room, the other rooms of which it imports something, also inside its functions."""
    rooms = {module: room for module, room, _ in _modules()}
    arrows: dict[str, set[str]] = defaultdict(set)
    for _, room, path in _modules():
        arrows[room] |= {rooms[name] for name in _imported(path) if name in rooms} - {room}
    return dict(arrows)


def _modules() -> list[tuple[str, str, Path]]:
    """Every module with its room, which is its folder, and its file."""
    paths = [path for package in PACKAGES for path in sorted((CHECKOUT / package).rglob("*.py"))]
    return [(_module_name(path), path.parent.relative_to(CHECKOUT).as_posix(), path) for path in paths]


def _module_name(path: Path) -> str:
    parts = path.relative_to(CHECKOUT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import():
                names |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module)):
                names |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
            case _:
                pass
    return names


def _about(room: str) -> str:
    docstring = ast.get_docstring(ast.parse((CHECKOUT / room / "__init__.py").read_text("utf-8"))) or ""
    return re.sub(r"\s+", " ", inspect.cleandoc(docstring).split("\n\n")[0])


def _named(rooms: set[str]) -> str:
    return ", ".join(code(room) for room in sorted(rooms, key=_rank))


def _rank(room: str) -> tuple[int, str]:
    return PACKAGES.index(room.split("/", maxsplit=1)[0]), room
