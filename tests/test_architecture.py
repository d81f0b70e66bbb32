"""The shape of the tree: who imports whom, what things are called, where SQL lives, and how it is written.

Each rule is a small function over source text that gives what offends it, so that every rule is shown to catch an
offender before the tree is held to it.
"""

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[1]

IMPORTABLE: Final = {
    "ledger": {"ledger"},
    "projections": {"projections", "ledger"},
    "processors": {"processors", "ledger"},
    "api": {"api", "projections", "processors", "ledger"},
}
"""What each package may import of ours."""

SOURCES: Final = sorted(path for package in IMPORTABLE for path in (ROOT / package).rglob("*.py"))
BENCHMARKS: Final = sorted(
    path for path in (ROOT / "tests/benchmarks").glob("*.py") if not path.name.startswith(("test_", "conftest"))
)
"""Programs and no tests, although they live there: how they are written and named is held to the same rules."""

STATEMENTS: Final = sorted(
    path
    for folder in (*IMPORTABLE, "tests/benchmarks")
    for path in (ROOT / folder).rglob("*.sql")
    if path.parent.name != "migrations"
)
MIGRATIONS: Final = sorted(ROOT.glob("*/migrations/*.sql"))
TESTS: Final = sorted((ROOT / "tests").rglob("*.py"))


def named(path: Path) -> str:
    """A file's path from the root of the checkout."""
    return path.relative_to(ROOT).as_posix()


def over(paths: list[Path]) -> pytest.MarkDecorator:
    """One case for each file."""
    return pytest.mark.parametrize("path", paths, ids=named)


# --- imports ---------------------------------------------------------------------------------------------------------


def module_name(path: Path) -> str:
    """The dotted name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str, *, at_start_only: bool = False) -> set[str]:
    """The modules that a file imports, also inside its functions unless only those at the program's start count.

    `from a import b` gives both `a` and `a.b`, as b may be a module. An import under TYPE_CHECKING is not run at start.
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


def forbidden_imports(package: str, source: str) -> set[str]:
    """What a file of a package imports although it may not."""
    ours = {name for name in imported(source) if name.split(".")[0] in {*IMPORTABLE, "tests"}}
    relative = imported(source) & {"a relative import"}
    return {name for name in ours if name.split(".")[0] not in IMPORTABLE[package]} | relative


@over(SOURCES)
def test_imports_go_in_one_direction(path: Path) -> None:
    """Everybody imports `ledger`, `api` imports everybody, and nobody imports the tests."""
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
    """Also inside a function."""
    assert forbidden_imports(package, source)


def import_cycle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle, or nothing."""
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
    """Not by any detour: what a module needs stands before it."""
    graph = {
        module_name(path): imported(path.read_text("utf-8"), at_start_only=True)
        for path in SOURCES
        if path.is_relative_to(ROOT / package)
    }

    assert import_cycle(graph) == []


def test_a_circle_is_found() -> None:
    """Over three modules, and named in order."""
    graph = {"p.a": {"p.b"}, "p.b": {"p.c", "os"}, "p.c": {"p.a"}, "p.d": {"p.a"}}

    assert import_cycle(graph) == ["p.a", "p.b", "p.c", "p.a"]
    assert import_cycle({**graph, "p.c": set()}) == []


PURE: Final = {
    *("account", "books", "commands", "decisions", "errors", "events", "identifiers", "mapper", "money", "payment"),
    "seal",
}
OUTSIDE_WORLD: Final = {
    *("asyncio", "httpx", "os", "psycopg", "random", "secrets", "socket", "subprocess", "threading", "time", "uuid4"),
}


@pytest.mark.parametrize("path", [ROOT / f"ledger/{name}.py" for name in sorted(PURE)], ids=named)
def test_what_decides_knows_no_clock_no_chance_and_no_network(path: Path) -> None:
    """Time, ids and randomness are arguments, so that a test or a replay can choose them."""
    source = path.read_text("utf-8")

    assert {name.split(".")[0] for name in imported(source)} & OUTSIDE_WORLD == set()
    assert not re.search(r"\b(uuid[14]|now|utcnow|today|time_ns|monotonic)\(", source)


def test_the_process_knows_no_clock_no_chance_and_no_network() -> None:
    """What follows from the gateway's answers is a function of them."""
    for name in ("payment_process", "retry_policy", "outcomes"):
        source = (ROOT / f"processors/{name}.py").read_text("utf-8")

        assert {module.split(".")[0] for module in imported(source)} & OUTSIDE_WORLD == set()


# --- names -----------------------------------------------------------------------------------------------------------

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
    """The words of a name: `makeOrder_now` gives make, order and now."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", identifier)}


def defined(source: str) -> set[str]:
    """The names that a file gives: classes, functions, parameters, variables and fields."""
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
    """Names that use another word for what has one; the tasks of asyncio and of a progress bar may be called so."""
    synonyms = set(SYNONYMS)
    if imported(source) & {"asyncio", "rich.progress"}:
        synonyms -= {"task", "tasks"}
    return {name for name in defined(source) if words(name.replace("in_order", "")) & synonyms}


@over([*SOURCES, *BENCHMARKS, *STATEMENTS])
def test_a_file_is_named_for_a_thing_of_the_business_or_a_part_of_the_machine(path: Path) -> None:
    """Nothing is called by a word that could hold anything."""
    assert not {word for part in path.relative_to(ROOT).parts for word in re.split(r"[_.]", part)} & BANNED_FILES


@over([*SOURCES, *BENCHMARKS])
def test_one_thing_has_one_name(path: Path) -> None:
    """Account, payment, queue: no wallet, transfer, order, job or task of ours."""
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
def test_another_word_for_one_of_our_things_is_found(source: str) -> None:
    """Wherever a name can be given."""
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
def test_words_of_others_are_left_alone(source: str) -> None:
    """An asyncio task is one, and a method that we call was named by somebody else."""
    assert banned_names(source) == set()


@over([*SOURCES, *TESTS])
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """In its docstring; the folders of tests are explained by the folders that they mirror."""
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8")))

    assert docstring or (path.name == "__init__.py" and path.is_relative_to(ROOT / "tests"))


@pytest.mark.parametrize("package", IMPORTABLE)
def test_every_package_opens_with_a_few_sentences(package: str) -> None:
    """Somebody who opens it for the first time learns what it is, before any file of it."""
    docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text("utf-8"))) or ""

    assert len(docstring.split()) >= 10


@over([*SOURCES, *TESTS, *STATEMENTS, *MIGRATIONS])
def test_nothing_is_left_for_later_in_the_code(path: Path) -> None:
    """What is still to be done stands in the issues."""
    found = re.findall(r"\b(?:TO" + r"DO|FIX" + r"ME|X" + r"XX:|HA" + r"CK)\b", path.read_text("utf-8"))

    assert found == []


# --- money -----------------------------------------------------------------------------------------------------------


def inexact_money(source: str) -> set[str]:
    """Where money might become a float: `float()`, `round()`, true division of it, a float as its type or value."""
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
    """Whether an amount takes part: names of amounts end in their unit."""
    return bool(re.search(r"(_minor|minor_units|amount|balance)\b", ast.unparse(node)))


def is_float(node: ast.AST) -> bool:
    """Whether a number is written with a point."""
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


@over([path for path in SOURCES if path.name != "settings.py" and path.is_relative_to(ROOT / "ledger")])
def test_no_money_is_ever_a_float_in_the_ledger(path: Path) -> None:
    """Amounts are whole minor units, and decimals where they come in; only settings have seconds to convert."""
    assert inexact_money(path.read_text("utf-8")) == set()


@over([path for path in SOURCES if not path.is_relative_to(ROOT / "ledger")])
def test_no_money_is_divided_or_made_a_float_anywhere_else(path: Path) -> None:
    """Outside the ledger seconds and sizes may be; amounts may not."""
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
    """Each way in which one could slip in."""
    assert inexact_money(source)


def test_whole_divisions_and_seconds_are_no_floats_of_money() -> None:
    """The fee is a division without remainder, and delays are fractions of seconds."""
    source = "a = (2 * amount_minor + 1) // 2\nb = elapsed_ms / 1000\ndelay_seconds: float = 0.5"

    assert inexact_money(source) == set()


# --- SQL -------------------------------------------------------------------------------------------------------------

SQL_IN_PYTHON: Final = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:"
    r"SELECT\s+\S|INSERT\s+INTO\s|UPDATE\s+\S+\s+(?:AS\s+\S+\s+)?SET\s|DELETE\s+FROM\s|WITH\s+\S+\s+AS\s|MERGE\s+INTO\s"
    r"|(?:CREATE|ALTER|DROP|TRUNCATE)\s+(?:OR\s+REPLACE\s+)?(?:UNIQUE\s+)?(?:TABLE|INDEX|SCHEMA|ROLE|VIEW|DATABASE)\b"
    r"|(?:GRANT|REVOKE)\s+\S+.*\s(?:TO|FROM)\s|LISTEN\s+\S|NOTIFY\s+\S|COPY\s+\S+\s+(?:TO|FROM)\s|SET\s+(?:ROLE|LOCAL)\s"
    r"|BEGIN\b(?:\s+(?:ISOLATION|READ|WORK|TRANSACTION)|;?\s*$)|(?:COMMIT|ROLLBACK);?\s*$|VALUES\s*\()"
)
PARTS_OF_SQL: Final = re.compile(r"\b(?:WHERE\s+\w+\s*(?:=|<|>|IN\b)|ORDER\s+BY\s+\w+|RETURNING\s+\w+|ON\s+CONFLICT\b)")


def sql_literals(source: str) -> list[str]:
    """String literals that are SQL, whole or in part; docstrings speak about it and are left out."""
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
def test_no_sql_stands_in_python(path: Path) -> None:
    """Statements live in `.sql` files beside the module that runs them."""
    assert sql_literals(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        'x("SELECT 1")',
        'x("""\n    SELECT *\n      FROM events""")',
        'x("-- why\\nINSERT INTO head VALUES (1)")',
        'x(f"UPDATE {table} SET at = 1")',
        'x("UPDATE head SET position = 2")',
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
    """Whole statements and parts that somebody might put together."""
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
    """Messages, names of statements and docstrings."""
    assert sql_literals(source) == []


def statements(text: str) -> dict[str, str]:
    """The statements of a file by their names, comments included; what stands before the first name under ``""``."""
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
    """A statement's own text."""
    return re.sub(r"--[^\n]*", "", statement).strip()


def needs_a_comment(statement: str) -> bool:
    """Whether a statement is neither short and plain nor explained."""
    body = without_comments(statement)
    plain = len(body.splitlines()) <= TRIVIAL_LINES_MAX and not TO_BE_EXPLAINED.search(body)
    return not plain and "--" not in statement


@over(STATEMENTS)
def test_every_statement_is_named_and_says_why_unless_it_is_plain(path: Path) -> None:
    """What locks or looks aside has a reason, and the reason stands with it."""
    by_name = statements(path.read_text("utf-8"))

    assert without_comments(by_name.pop("")) == ""
    assert by_name
    assert [name for name, statement in by_name.items() if not without_comments(statement)] == []
    assert {name for name, statement in by_name.items() if needs_a_comment(statement)} <= YET_TO_BE_EXPLAINED


@over(STATEMENTS)
def test_no_two_statements_of_a_file_have_one_name(path: Path) -> None:
    """The second would silently take the place of the first."""
    names = [match["name"] for match in NAME.finditer(path.read_text("utf-8"))]

    assert sorted(set(names)) == sorted(names)


@over(STATEMENTS)
def test_a_line_that_means_to_name_a_statement_does(path: Path) -> None:
    """A misspelt name would make two statements one."""
    text = path.read_text("utf-8")

    assert len(NAME.findall(text)) == len(re.findall(r"(?i)^\s*--\s*name\b", text, re.MULTILINE))


@over(STATEMENTS)
def test_every_statement_is_used(path: Path) -> None:
    """By its name or by one that is put together; dead SQL misleads whoever looks for the live one."""
    names = [match["name"] for match in NAME.finditer(path.read_text("utf-8"))]

    assert [name for name in names if not asked_for().fullmatch(name)] == []


@cache
def asked_for() -> re.Pattern[str]:
    """The names of statements that the program may ask for."""
    patterns = {pattern for source in (*SOURCES, *BENCHMARKS) for pattern in texts(source.read_text("utf-8"))}
    return re.compile("|".join(sorted(patterns)))


def texts(source: str) -> set[str]:
    """Patterns of all texts in a source that could be a statement's name; what is filled in later may be any word."""
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
        ("SELECT 1 FROM head", False),
        ("-- Because.\nSELECT 1 FROM head FOR UPDATE", False),
        ("SELECT 1 FROM head FOR UPDATE", True),
        ("SELECT 1 FROM a JOIN b USING (c)", False),
        ("SELECT 1 FROM a CROSS JOIN LATERAL (SELECT 1 OFFSET 0) AS b", True),
        ("SELECT\n" + ",\n".join("abcdefghij") + "\nFROM t", True),
    ],
)
def test_an_unexplained_statement_is_found(text: str, offends: bool) -> None:  # noqa: FBT001 - a column of the table
    """Short and plain ones explain themselves."""
    assert offends is needs_a_comment(text)


# --- migrations ------------------------------------------------------------------------------------------------------


def nameless(ddl: str) -> list[str]:
    """Checks, keys, constraints and indexes that have no name of their own."""
    text = re.sub(r"\s+", " ", without_comments(ddl))
    text = re.sub(r"'[^']*'", "''", text)
    named_away = re.sub(
        r"\bCONSTRAINT \w+ (?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY|EXCLUDE)\b"
        r"|\bCREATE (?:UNIQUE )?INDEX (?!ON\b)\w+ ON\b",
        "",
        text,
    )
    kinds = r"\b(?:PRIMARY KEY|UNIQUE|CHECK|FOREIGN KEY|EXCLUDE|REFERENCES|CREATE (?:UNIQUE )?INDEX)\b[^,;]{0,40}"
    return re.findall(kinds, named_away)


@over(MIGRATIONS)
def test_every_check_key_and_index_has_a_name(path: Path) -> None:
    """So that an error, a plan and a later migration can speak of it."""
    assert nameless(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "ddl",
    [
        "CREATE TABLE t (id bigint PRIMARY KEY)",
        "CREATE TABLE t (id bigint, CHECK (id > 0))",
        "CREATE TABLE t (id bigint UNIQUE)",
        "CREATE TABLE t (id bigint REFERENCES u (id))",
        "CREATE INDEX ON t (id)",
        "CREATE UNIQUE INDEX ON t (id)",
        "ALTER TABLE t ADD UNIQUE (id)",
    ],
)
def test_a_nameless_constraint_is_found(ddl: str) -> None:
    """In a table, at a column, as an index."""
    assert nameless(ddl)


@over(MIGRATIONS)
def test_the_schema_can_be_moved_to_another_node(path: Path) -> None:
    """No triggers, sequences, inheritance, foreign keys or functions, no other schema, and no clock as a default."""
    ddl = without_comments(path.read_text("utf-8"))
    banned = (
        r"\b(?:TRIGGER|RULE|INHERITS|SERIAL|BIGSERIAL|SEQUENCE|GENERATED|REFERENCES|FOREIGN KEY|FUNCTION|PROCEDURE"
        r"|CREATE TYPE|DOMAIN|EXTENSION)\b|DEFAULT\s+(?:now|clock_timestamp|current_\w+|nextval|gen_random_uuid)"
    )

    assert re.findall(banned, ddl, re.IGNORECASE) == []
    assert re.findall(r"\b(?:TABLE|ON|INTO|UPDATE)\s+\w+\.\w+", ddl) == []


@over(MIGRATIONS)
def test_every_table_has_a_primary_key_and_says_what_it_is_for(path: Path) -> None:
    """Above each table stands a comment, and in it a named key."""
    lines = path.read_text("utf-8").splitlines()
    tables = re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", path.read_text("utf-8"), re.DOTALL)

    assert [table for table, body in tables if f"CONSTRAINT {table}_pkey PRIMARY KEY" not in body] == []
    assert [line for above, line in pairwise(lines) if re.match("CREATE ", line) and not above.startswith("--")] == []


def test_the_rules_are_held_over_something() -> None:
    """A glob that finds nothing would hold nothing to anything."""
    assert len(SOURCES) > 30
    assert len(BENCHMARKS) > 20
    assert len(STATEMENTS) > 5
    assert len(MIGRATIONS) >= 2
    assert {named(path).split("/")[0] for path in SOURCES} == set(IMPORTABLE)


def test_this_file_has_no_rule_without_an_offender() -> None:
    """Each function that judges is called by a test of offenders, too."""
    source = Path(__file__).read_text("utf-8")
    judges: list[Callable[..., object]] = [forbidden_imports, import_cycle, banned_names, inexact_money, sql_literals]
    judges += [needs_a_comment, nameless]

    assert [judge.__name__ for judge in judges if source.count(f"{judge.__name__}(") < 3] == []
