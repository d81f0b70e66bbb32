"""A handler waits for nothing after its command is carried out: a wait that fails would deny money that has moved.

Only the handlers' own code is read, and not the functions that they call.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure.tree import SOURCES, named, over

HANDLERS = [path for path in SOURCES if named(path).startswith(("api/resources/", "api/direct_routes"))]
CARRIED_OUT = {"execute", "execute_all"}


def waits_after_a_command(source: str) -> Iterator[str]:
    """The handlers that wait for something else after a command is carried out: another read, or a second command."""
    for function in ast.walk(ast.parse(source)):
        if not isinstance(function, ast.AsyncFunctionDef):
            continue
        waits = sorted(
            (node for node in ast.walk(function) if isinstance(node, ast.Await)),
            key=lambda node: (node.lineno, node.col_offset),
        )
        commands = [number for number, wait in enumerate(waits) if is_of_a_command(wait)]
        if commands and commands[0] != len(waits) - 1:
            yield function.name


def is_of_a_command(wait: ast.Await) -> bool:
    """Whether a wait is for a command to be carried out."""
    call = wait.value
    return isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr in CARRIED_OUT


@over(HANDLERS)
def test_no_handler_waits_for_anything_after_its_command(path: Path) -> None:
    """Its answer is made of what the command answered."""
    assert list(waits_after_a_command(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "body",
    [
        "answer = await context.execute(1, command)\n    return view(await reads.get(answer.payment_id))",
        "await context.execute_all(commands)\n    await context.execute(1, command)",
    ],
)
def test_a_wait_after_a_command_is_found(body: str) -> None:
    """A read, and a second command."""
    assert list(waits_after_a_command(f"async def handler():\n    {body}\n")) == ["handler"]


def test_a_wait_before_a_command_is_allowed() -> None:
    """A request that cannot be carried out is refused first."""
    source = "async def handler():\n    await check()\n    return view(await context.execute(1, command))\n"

    assert list(waits_after_a_command(source)) == []
