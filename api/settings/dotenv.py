"""Finds the `.env` file and reads it as people write it: with quotes, comments, `export`, a byte order mark."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]

_ASSIGNMENT: Final = re.compile(
    r"""
    (?: export \s+ )? (?P<name> [A-Za-z_][A-Za-z0-9_.-]* ) \s* = \s*
    (?: "(?P<double> (?: [^"\\] | \\. )* )"  \s* (?: \#.* )?
      | '(?P<single> [^']* )'  \s* (?: \#.* )?
      | (?P<plain> (?! ["'] ) .*? ) (?: (?<=[\s=]) \#.* )? )
    """,
    re.VERBOSE,
)


def find_dotenv(directory: Path) -> Path | None:
    """Find the `.env` that counts: the one in a directory (where a command was started), else the checkout's."""
    return next((path for path in (directory / ".env", CHECKOUT / ".env") if path.is_file()), None)


def read_dotenv(path: Path) -> tuple[dict[str, str], list[str]]:
    """Read a file of `NAME=value` lines: the values by name, and the file's problems, one sentence each.

    No sentence repeats a line, because it may hold a password.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{path.name} cannot be read as UTF-8 text: {type(error).__name__}"]
    values: dict[str, str] = {}
    problems = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _ASSIGNMENT.fullmatch(line.strip())
        if match is None:
            problems.append(f"{path.name}, line {number}, is no NAME=value (a quote that is opened has to be closed)")
        elif match["double"] is not None:
            values[match["name"]] = re.sub(r'\\(["\\])', r"\1", match["double"])
        else:
            values[match["name"]] = match["single"] if match["single"] is not None else match["plain"]
    return named_values(values), problems


def named_values(values: Mapping[str, str]) -> dict[str, str]:
    """Give the values that are set, by names in capitals; a blank value is unset.

    Where a name is set in two spellings, the one in capitals counts.
    """
    ordered = sorted(values, key=str.isupper)  # capitals last, so that they replace the others
    return {name.upper(): values[name].strip() for name in ordered if values[name].strip()}
