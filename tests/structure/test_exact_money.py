"""No amount of money is ever a float."""

import ast
import re
from pathlib import Path

import pytest

from tests.structure.tree import (
    ROOT,
    SOURCES,
    over,
)


def inexact_money(source: str) -> set[str]:
    """Code in which money might become a float: `float()`, `round()`, true division, a float as its type or value."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="float" | "round")):
                found.add(ast.unparse(node))
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()) if is_money(node):
                found.add(ast.unparse(node))
            case ast.BinOp(left=left, right=right) if is_money(node) and (is_float(left) or is_float(right)):
                found.add(ast.unparse(node))
            case ast.AnnAssign(annotation=annotation) | ast.arg(annotation=ast.expr() as annotation) if is_money(
                node
            ) and "float" in ast.unparse(annotation):
                found.add(ast.unparse(node))
    return found


def is_money(node: ast.AST) -> bool:
    """Whether an amount is involved. Names of amounts end in their unit."""
    return bool(re.search(r"(_minor|minor_units|amount|balance)\b", ast.unparse(node)))


def is_float(node: ast.AST) -> bool:
    """Whether a number has a decimal point."""
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


@over([path for path in SOURCES if path.name != "settings.py" and path.is_relative_to(ROOT / "ledger")])
def test_no_money_is_ever_a_float_in_the_ledger(path: Path) -> None:
    """Amounts are whole minor units, and decimals on input. Only settings convert seconds."""
    assert inexact_money(path.read_text("utf-8")) == set()


@over([path for path in SOURCES if not path.is_relative_to(ROOT / "ledger")])
def test_no_money_is_divided_or_made_a_float_anywhere_else(path: Path) -> None:
    """Outside the ledger, seconds and sizes may be floats, and amounts may not."""
    found = {text for text in inexact_money(path.read_text("utf-8")) if is_money(ast.parse(text, mode="eval"))}

    assert found == set()


@pytest.mark.parametrize(
    "source",
    [
        "float(text)",
        "round(x, 2)",
        "a = fee_minor / 100",
        "amount_minor /= 100",
        "x = amount_minor * 0.02",
        "def f(amount_minor: float): ...",
        "balance: float | None = None",
    ],
)
def test_a_float_where_money_is_meant_is_found(source: str) -> None:
    """The rule finds each way in which a float could come in."""
    assert inexact_money(source)


def test_integer_divisions_and_seconds_are_allowed() -> None:
    """The fee is a division of integers, and delays are fractions of seconds."""
    source = "a = (2 * amount_minor + 1) // 2\nb = elapsed_ms / 1000\ndelay_seconds: float = 0.5"

    assert inexact_money(source) == set()
