"""The names in the documents exist: commands and options, targets of make, routes, settings, files."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import click
import pytest

from api.cli.main import main
from tests.support.documents import CHECKOUT, blocks, inline_code, pages, shell_lines
from tests.support.reference.routes import METHODS, openapi_document

FOLDERS: Final = ("ledger", "projections", "processors", "api", "tests", "docs", ".ci")
SAID_BEFORE: Final = ("CHANGELOG.md", "docs/decisions/")
"""These may name things of another time."""

SETTINGS_OF_OTHERS: Final = {
    *("PORT", "PYTHON", "ARGS"),
    *("POST", "HTTP", "JSON", "CHECK", "COMMIT", "ROLLBACK", "NOTIFY", "BEGIN", "SIGTERM", "UUID"),
}
"""Words in capitals that are not settings of ours, or are settings of `make`."""

PRODUCT: Final = (
    "api/**/*.py",
    "docker-compose.yml",
    ".env.example",
    "ledger/**/*.py",
    "processors/**/*.py",
    "projections/**/*.py",
)


def named(path: Path) -> str:
    return path.relative_to(CHECKOUT).as_posix()


PAGES: Final = [path for path in pages() if not named(path).startswith(SAID_BEFORE)]
EACH: Final = pytest.mark.parametrize("path", PAGES, ids=named)


def code_of(text: str) -> list[str]:
    """All pieces of code of a page: those in sentences, and the lines of shell blocks."""
    lines = [line for block in blocks(text) if block.language == "sh" for line in shell_lines(block)]
    return [*(" ".join(piece.split()) for piece in inline_code(text)), *lines]


# --- commands --------------------------------------------------------------------------------------------------------


def wrong_commands(text: str) -> list[str]:
    """Commands of `payment-ledger` that do not exist, or not with these options."""
    commands = [
        command
        for piece in code_of(text)
        for command in re.findall(r"(?:^|[ /])payment-ledger((?: +[^|;&<>$()`]+)?)", piece)
    ]
    return [f"payment-ledger{each}: {wrong}" for each in commands if (wrong := _wrong_with(each.split())) is not None]


def _wrong_with(words: list[str]) -> str | None:
    command: click.Command = main
    context = click.Context(main)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        below = command.get_command(context, words[0]) if words[0] in command.list_commands(context) else None
        if below is None:
            return f"there is no {words[0]}" if re.fullmatch(r"[a-z][a-z-]*", words[0]) else None
        command, words = below, words[1:]
    if command.name == "bench":
        return None
    options = {"--help", "--version", *(name for parameter in command.params for name in parameter.opts)}
    return next((f"there is no {word}" for word in words if word.startswith("--") and word not in options), None)


@EACH
def test_every_command_exists_with_its_options(path: Path) -> None:
    """A reader pastes it, and it works."""
    assert wrong_commands(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("`payment-ledger status`", True),
        ("`payment-ledger audit verify --expect 1:ab`", True),
        ("`.venv/bin/payment-ledger dlq list --json`", True),
        ("`payment-ledger`", True),
        ("`payment-ledger ready PART`", True),
        ("`payment-ledger stat`", False),
        ("`payment-ledger audit prove`", False),
        ("`payment-ledger audit verify --hope`", False),
        ("```sh\npayment-ledger dlq requeue 1 --reason x\n```", False),
    ],
)
def test_a_command_that_does_not_exist_is_found(text: str, right: bool) -> None:  # noqa: FBT001 - a column of the table
    """Or an option that it does not have."""
    assert (wrong_commands(text) == []) is right


# --- make ------------------------------------------------------------------------------------------------------------


@EACH
def test_every_target_of_make_exists(path: Path) -> None:
    """In the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (CHECKOUT / "Makefile").read_text("utf-8"), re.MULTILINE))
    wanted = {found for piece in code_of(path.read_text("utf-8")) for found in re.findall(r"^make ([a-z-]+)", piece)}

    assert wanted - targets == set()


# --- routes ----------------------------------------------------------------------------------------------------------


@cache
def routes() -> frozenset[str]:
    """Every route, with the names of its parameters left out."""
    paths = openapi_document()["paths"]
    found = {f"{method.upper()} {_shape(path)}" for path, item in paths.items() for method in item if method in METHODS}
    return frozenset(found)


def _shape(path: str) -> str:
    plain = re.sub(r"\{[^}]*\}", "{}", path.partition("?")[0]).rstrip("/")
    return plain.removeprefix("/api/v1")


def wrong_routes(text: str) -> Iterator[str]:
    """Routes that the service does not have; `/problems`, `/docs` and those of a gateway are others'."""
    for piece in code_of(text):
        for method, path in re.findall(r"^(GET|POST) (/[^\s,]*)", piece):
            route = f"{method} {_shape(re.sub(r'/[0-9]+', '/{}', path))}"
            gateway = {"POST /pay", "GET /effects", "GET /behaviours", "GET /acts"}
            if route not in routes() | gateway and not path.startswith("/docs"):
                yield route


@EACH
def test_every_route_exists(path: Path) -> None:
    """With the method that is named."""
    assert list(wrong_routes(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("text", ["`GET /wallets`", "`POST /users/{id}`", "`GET /api/v1/payments/1/history`"])
def test_a_route_that_does_not_exist_is_found(text: str) -> None:
    """Neither with another method."""
    assert list(wrong_routes(text))


# --- settings and files ----------------------------------------------------------------------------------------------


@cache
def product() -> str:
    """The text of the product, in which every setting is named."""
    return "\n".join(path.read_text("utf-8") for pattern in PRODUCT for path in CHECKOUT.glob(pattern))


def wrong_settings(text: str) -> set[str]:
    """Words in capitals, as settings are, that the product does not know."""
    words = {
        word.partition("=")[0]
        for piece in code_of(text)
        for word in piece.split()
        if re.fullmatch(r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?:=\S*)?", word)
    }
    return {word for word in words if not re.search(rf"\b{word}\b", product())} - SETTINGS_OF_OTHERS


@EACH
def test_every_setting_exists(path: Path) -> None:
    """Under the name that is given."""
    assert wrong_settings(path.read_text("utf-8")) == set()


def test_a_setting_that_does_not_exist_is_found() -> None:
    """Alone, and with a value."""
    text = "`WORKER_HOPE` and `LEDGER_WISH=1` and `WORKER_CONCURRENCY`"

    assert wrong_settings(text) == {"WORKER_HOPE", "LEDGER_WISH"}


def missing_files(text: str) -> set[str]:
    """Paths of the tree that are not there; `*` and `<...>` stand for anything."""
    found = set()
    for piece in code_of(text):
        for word in re.findall(rf"(?:^|[ (])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./*<>-]*)", piece):
            pattern = re.sub(r"<[^>]*>", "*", word.rstrip("."))
            if not any(CHECKOUT.glob(pattern.rstrip("/"))):
                found.add(word)
    return found


@EACH
def test_every_file_exists(path: Path) -> None:
    """Where the page says that it is."""
    assert missing_files(path.read_text("utf-8")) == set()


def test_a_file_that_does_not_exist_is_found() -> None:
    """A file, a folder, and none of those that are there."""
    text = "`ledger/hope.py`, `tests/wish/`, `ledger/domain/money.py`, `tests/<package>/<room>/`, `api/*.py`"

    assert missing_files(text) == {"ledger/hope.py", "tests/wish/"}
