"""Writes the files that follow from the table of settings: `python -m api.settings.files`, or `make generated`.

They are `.env.example`, a part of `docker-compose.yml` and `docs/reference/settings.md`. A test compares each file with
its text here.
"""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from api.settings.declaration import Setting, rows_of
from api.settings.dotenv import CHECKOUT
from api.settings.other_names import COMPOSE_NAMES, NAMES_WITHOUT_EFFECT, OLD_NAMES
from api.settings.settings import Settings

COMPOSE_BEGIN: Final = "  # --- from the table of settings, by `make generated` ---\n"
COMPOSE_END: Final = "  # --- end ---\n"

_LINE_CHARACTERS_MAX: Final = 120

_EXAMPLE_HEAD: Final = """\
# Copy this to `.env` and change the lines that you need. All values here are the defaults; an empty one is unset.
# Written from the table of settings by `make generated`.
"""

_REFERENCE_HEAD: Final = """\
# Settings

This page is written from the table of settings, `api/settings/table.py`, by `make generated`.

The service reads its settings from the environment and from a `.env` file: the one in the directory where a command
starts, else the checkout's. The environment takes precedence. Names count in any case, and an empty value means that
the name is unset. At start, every wrong value is named with what the setting takes, and nothing starts half-configured.

`payment-ledger settings` shows each value, and where it comes from; passwords are masked.
"""


def env_example(_: str) -> str:
    """Give the text of `.env.example`."""
    lines = [_EXAMPLE_HEAD]
    for row in _all_rows():
        if row.heading is not None:
            lines.append(f"\n# --- {row.heading} ---\n")
        lines.extend(f"# {line}\n" for line in textwrap.wrap(_remark(row), _LINE_CHARACTERS_MAX - 2))
        lines.append(f"{row.name}={_common_default(row) or ''}\n")
    return "".join(lines)


def compose_file(text: str) -> str:
    """Give the text of `docker-compose.yml` with the lines for the settings replaced; the rest stays as it is.

    Raises ValueError when the two lines are missing between which the settings stand.
    """
    before, begin, rest = text.partition(COMPOSE_BEGIN)
    _, end, after = rest.partition(COMPOSE_END)
    if not begin or not end:
        raise ValueError("docker-compose.yml has lost the lines between which the settings stand")
    names = [row.name for row in rows_of(Settings).values() if row.compose] + [old.name for old in OLD_NAMES]
    return before + begin + "".join(f"  {name}: ${{{name}:-}}\n" for name in names) + end + after


def reference_page(_: str) -> str:
    """Give the text of `docs/reference/settings.md`."""
    lines = [_REFERENCE_HEAD]
    for row in _all_rows():
        if row.heading is not None:
            lines.append(f"\n## {row.heading[0].upper()}{row.heading[1:]}\n\n")
            if row in COMPOSE_NAMES:
                lines.append("These names are read by `docker-compose.yml` and not by the service.\n\n")
            lines += ["| name | default | unit | takes | meaning |\n", "|---|---|---|---|---|\n"]
        lines.append(f"| `{row.name}` | {_default(row)} | {row.unit} | {row.parser.takes} | {row.doc} |\n")
    lines.append(
        "\n## Old names\n\nThey are still read. The new name takes precedence, and then a warning says so.\n\n"
    )
    lines += ["| old name | meaning |\n", "|---|---|\n"]
    lines += [f"| `{old.name}` | {old.doc} |\n" for old in OLD_NAMES]
    without_effect = ", ".join(f"`{name}`" for name in NAMES_WITHOUT_EFFECT)
    lines.append(f"\nNames of the original service that have no effect here: {without_effect}.\n")
    return "".join(lines)


FILES: Final[Mapping[Path, Callable[[str], str]]] = MappingProxyType(
    {
        Path(".env.example"): env_example,
        Path("docker-compose.yml"): compose_file,
        Path("docs/reference/settings.md"): reference_page,
    }
)
"""The files by their paths in the checkout, and the functions that make the text of each from its present text."""


def write_files(checkout: Path) -> Iterator[Path]:
    """Write the files whose text differs from the table's, and yield their paths."""
    for name, text_of in FILES.items():
        path = checkout / name
        present = path.read_text("utf-8") if path.exists() else ""
        if (text := text_of(present)) != present:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            yield name


def _all_rows() -> Iterable[Setting]:
    return (*rows_of(Settings).values(), *COMPOSE_NAMES)


def _common_default(row: Setting) -> str | None:
    """Give the default that counts for every command; None when there is none or when it depends on the command."""
    return row.default if row.serve_default is None else None


def _default(row: Setting) -> str:
    if row.serve_default is not None:
        return f"`{row.serve_default}` under `serve`, else `{row.default}`"
    return "unset" if row.default is None else f"`{row.default}`"


def _remark(row: Setting) -> str:
    default = "" if row.serve_default is None else f" Unset: {row.serve_default} under `serve`, else {row.default}."
    return f"{row.doc}{f' Unit: {row.unit}.' if row.unit else ''}{default}"


if __name__ == "__main__":
    for written in write_files(CHECKOUT):
        print(f"wrote {written}")  # noqa: T201 - what this program has to say
