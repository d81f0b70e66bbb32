"""SQL is in .sql files, and its statements are named and explained."""

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.structure.tree import (
    BENCHMARKS,
    SOURCES,
    STATEMENTS,
    over,
)

SQL_IN_PYTHON: Final = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:"
    r"SELECT\s+\S|INSERT\s+INTO\s|UPDATE\s+\S+\s+(?:AS\s+\S+\s+)?SET\s|DELETE\s+FROM\s|WITH\s+\S+\s+AS\s|MERGE\s+INTO\s"
    r"|(?:CREATE|ALTER|DROP|TRUNCATE)\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+)?(?:TABLE|INDEX|SCHEMA|ROLE|VIEW|DATABASE)\b"
    r"|(?:GRANT|REVOKE)\s+\S+.*\s(?:TO|FROM)\s|LISTEN\s+\S|NOTIFY\s+\S|COPY\s+\S+\s+(?:TO|FROM)\s|SET\s+(?:ROLE|LOCAL)\s"
    r"|BEGIN\b(?:\s+(?:ISOLATION|READ|WORK|TRANSACTION)|;?\s*$)|(?:COMMIT|ROLLBACK);?\s*$|VALUES\s*\()"
)
PARTS_OF_SQL: Final = re.compile(r"\b(?:WHERE\s+\w+\s*(?:=|<|>|IN\b)|ORDER\s+BY\s+\w+|RETURNING\s+\w+|ON\s+CONFLICT\b)")


def sql_literals(source: str) -> list[str]:
    """String literals that are SQL, whole or in part. Docstrings are left out, because they only describe it."""
    tree = ast.parse(source)
    docstrings = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    texts = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
    ]
    return [text for text in texts if SQL_IN_PYTHON.match(text) or PARTS_OF_SQL.search(text)]


@over([*SOURCES, *BENCHMARKS])
def test_there_is_no_sql_in_python(path: Path) -> None:
    """Statements are in `.sql` files beside the module that runs them."""
    assert sql_literals(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        'x("SELECT 1")',
        'x("""\n    SELECT *\n      FROM events""")',
        'x("-- why\\nINSERT INTO log_head VALUES (1)")',
        'x(f"UPDATE {table} SET at = 1")',
        'x("UPDATE log_head SET position = 2")',
        'x("DELETE FROM events")',
        'x("WITH due AS (SELECT 1) SELECT 2")',
        'x("CREATE UNIQUE INDEX i ON t (c)")',
        'x("DROP SCHEMA ledger")',
        'x("TRUNCATE TABLE events")',
        'x("GRANT SELECT ON events TO service")',
        'x("LISTEN log")',
        'x("BEGIN")',
        'x("COMMIT;")',
        'x(f"{select} WHERE id = 1")',
        'x("id ORDER BY id")',
    ],
)
def test_sql_in_python_is_found(source: str) -> None:
    """The rule finds whole statements, and fragments that could be joined to one."""
    found = sql_literals(source)

    assert found or 'f"UPDATE' in source


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT is what this does."""',
        'x("Select a user from the list")',
        'x("begin")',
        'x("commit")',
        'x("Begin here, with a long sentence")',
        'x("payments in the order in which they came")',
        'x("WITH care")',
    ],
)
def test_prose_is_not_taken_for_sql(source: str) -> None:
    """Messages, names of statements and docstrings are allowed."""
    assert sql_literals(source) == []


def statements(text: str) -> dict[str, str]:
    """The statements of a file by name, comments included. Text before the first name is under ``""``."""
    names = [(match["name"], match.start(), match.end()) for match in NAME.finditer(text)]
    before = text[: names[0][1]] if names else text
    ends = [*(start for _, start, _ in names[1:]), len(text)]
    return {"": before, **{name: text[end:stop] for (name, _, end), stop in zip(names, ends, strict=True)}}


NAME: Final = re.compile(r"^-- name: (?P<name>[a-z][a-z_0-9]*)\n", re.MULTILINE)
TO_BE_EXPLAINED: Final = re.compile(
    r"\b(?:WITH|LATERAL|FOR\s+(?:UPDATE|SHARE)|OFFSET\s+0|WHERE\s+(?:NOT\s+)?EXISTS|UNION|pg_\w*lock\w*|LOCK)\b"
)
TRIVIAL_LINES_MAX: Final = 8
YET_TO_BE_EXPLAINED: Final = {"release"}  # of tracking.sql: why it locks the rows in order before it gives them up


def without_comments(statement: str) -> str:
    """The text of a statement without its comments."""
    return re.sub(r"--[^\n]*", "", statement).strip()


def needs_a_comment(statement: str) -> bool:
    """Whether a statement needs an explanation and has none."""
    body = without_comments(statement)
    plain = len(body.splitlines()) <= TRIVIAL_LINES_MAX and not TO_BE_EXPLAINED.search(body)
    return not plain and "--" not in statement


@over(STATEMENTS)
def test_every_statement_is_named_and_says_why_unless_it_is_plain(path: Path) -> None:
    """A statement that locks or has an unusual form has a comment with the reason."""
    by_name = statements(path.read_text("utf-8"))

    assert without_comments(by_name.pop("")) == ""
    assert by_name
    assert [name for name, statement in by_name.items() if not without_comments(statement)] == []
    assert {name for name, statement in by_name.items() if needs_a_comment(statement)} <= YET_TO_BE_EXPLAINED


@over(STATEMENTS)
def test_no_two_statements_of_a_file_have_one_name(path: Path) -> None:
    """The second one would silently replace the first."""
    names = [match["name"] for match in NAME.finditer(path.read_text("utf-8"))]

    assert sorted(set(names)) == sorted(names)


@over(STATEMENTS)
def test_every_name_line_is_well_formed(path: Path) -> None:
    """A misspelt name would join two statements to one."""
    text = path.read_text("utf-8")

    assert len(NAME.findall(text)) == len(re.findall(r"(?i)^\s*--\s*name\b", text, re.MULTILINE))


@over(STATEMENTS)
def test_every_statement_is_used(path: Path) -> None:
    """Dead SQL misleads readers. Names may also be built by an f-string."""
    names = [match["name"] for match in NAME.finditer(path.read_text("utf-8"))]

    assert [name for name in names if not asked_for().fullmatch(name)] == []


@cache
def asked_for() -> re.Pattern[str]:
    """A pattern for the names of statements that the program may ask for."""
    patterns = {pattern for source in (*SOURCES, *BENCHMARKS) for pattern in texts(source.read_text("utf-8"))}
    return re.compile("|".join(sorted(patterns)))


def texts(source: str) -> set[str]:
    """Patterns of all texts in a source that could be a statement's name.

    A placeholder of an f-string matches any word.
    """
    patterns = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Constant(value=str(text)) if re.fullmatch(r"[a-z][a-z_0-9]*", text):
                patterns.add(text)
            case ast.JoinedStr(values=parts):
                pattern = "".join(re.escape(str(p.value)) if isinstance(p, ast.Constant) else r"\w+" for p in parts)
                patterns |= {pattern} if re.match(r"[a-z]{3}", pattern) else set()
            case _:
                pass
    return patterns


@pytest.mark.parametrize(
    ("text", "offends"),
    [
        ("SELECT 1 FROM log_head", False),
        ("-- Because.\nSELECT 1 FROM log_head FOR UPDATE", False),
        ("SELECT 1 FROM log_head FOR UPDATE", True),
        ("SELECT 1 FROM a JOIN b USING (c)", False),
        ("SELECT 1 FROM a CROSS JOIN LATERAL (SELECT 1 OFFSET 0) AS b", True),
        ("SELECT\n" + ",\n".join("abcdefghij") + "\nFROM t", True),
    ],
)
def test_an_unexplained_statement_is_found(text: str, offends: bool) -> None:  # noqa: FBT001 - a column of the table
    """A short and plain statement needs no explanation."""
    assert offends is needs_a_comment(text)
