"""Reads the rows of a table of settings from an environment and a `.env` file.

`read_settings` is a function of its arguments and of nothing else. It reads every name before it complains, so that one
start names everything that is wrong. The environment takes precedence over `.env`, names count in any case, and an
empty value means that the name is not set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from api.settings.declaration import OldName, Setting
from api.settings.dotenv import CHECKOUT, named_values, read_dotenv
from api.settings.parsers import WrongValue
from ledger.errors import LedgerError

Place = Literal["environment", ".env", "default"]


@dataclass(eq=False, kw_only=True)
class SettingsError(LedgerError):
    """Some settings are wrong, and nothing was started."""

    code = "settings_wrong"
    problems: tuple[str, ...]

    def __str__(self) -> str:
        """List every wrong setting on a line of its own."""
        return "\n".join((self.message, *(f"  {problem}" for problem in self.problems)))


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where a value comes from; `old_name` is the old name under which it was given, if it was."""

    place: Place
    old_name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The settings as read: `values` by field, `sources` by the setting's name.

    `command` is the command that they are for, if any. `directory` is the folder from which relative paths count.
    `problems` and `warnings` are sentences; `wrong` names the settings that have a problem, whose values are the
    defaults.
    """

    command: str | None
    values: Mapping[str, Any]
    sources: Mapping[str, Source]
    directory: Path
    dotenv: Path | None
    problems: Sequence[str]
    warnings: Sequence[str]
    wrong: frozenset[str]


@dataclass(frozen=True)
class _Given:
    """A text that was given for a setting, and under which name."""

    text: str
    place: Literal["environment", ".env"]
    name: str


def read_settings(
    rows: Mapping[str, Setting],
    old_names: Sequence[OldName],
    environ: Mapping[str, str],
    *,
    dotenv: Path | None,
    command: str | None,
) -> Reading:
    """Read the settings for a command (`serve`, `api`, ...)."""
    in_file, problems = read_dotenv(dotenv) if dotenv else ({}, [])
    given = {name: _Given(text, ".env", name) for name, text in in_file.items()}
    given |= {name: _Given(text, "environment", name) for name, text in named_values(environ).items()}
    warnings = _replace_old_names(given, old_names)
    values: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    wrong: set[str] = set()
    for field, row in rows.items():
        default = row.default_under(command)
        values[field] = None if default is None else row.parser(default)
        sources[row.name] = Source(place="default")
        if (found := given.get(row.name)) is None:
            continue
        try:
            values[field] = row.parser(found.text)
        except WrongValue as error:
            problems.append(f"{found.name} {error}")
            wrong.add(row.name)
        else:
            old_name = None if found.name == row.name else found.name
            sources[row.name] = Source(place=found.place, old_name=old_name)
    return Reading(
        command=command,
        values=values,
        sources=sources,
        directory=dotenv.resolve().parent if dotenv else CHECKOUT,
        dotenv=dotenv,
        problems=problems,
        warnings=warnings,
        wrong=frozenset(wrong),
    )


def _replace_old_names(given: dict[str, _Given], old_names: Sequence[OldName]) -> list[str]:
    """Move the values given for old names to the new names. Returns warnings about names that have no effect."""
    warnings = []
    for old in old_names:
        if (found := given.get(old.name)) is None:
            continue
        first = next(iter(old.becomes))
        if first in given:
            warnings.append(f"{old.name} has no effect, because {first} is set; {old.name} is an old name.")
            continue
        for name, text in old.becomes.items():
            if name in given:
                warnings.append(f"{name} has no effect, because {old.name} is set, an old name; set {first} instead.")
            given[name] = _Given(found.text if text is None else text, found.place, old.name)
    return warnings
