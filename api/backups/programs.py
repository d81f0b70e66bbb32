"""Finds Postgres' programs that can serve a server of a given version: those of the wheel, then those of this machine.

A program that is there may not run: `pg_verifybackup` of some wheels dies at once. So each is asked for its version
first, and one that does not answer is named with the reason.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from api.runtime.embedded_postgres.programs import EmbeddedPostgresFailed, program, program_environment

_DEBIAN: Final = Path("/usr/lib/postgresql")
_ANSWER_SECONDS_MAX: Final = 10.0


class Found(Struct, frozen=True, kw_only=True):
    """The program to use, if any, with its major version, and a sentence for each that cannot be used."""

    path: Path | None
    major: int
    refused: list[str]


def find(name: str, *, server: int, newer_too: bool) -> Found:
    """Find a program for a server of a major version; with `newer_too`, one of a newer version serves as well."""
    refused = []
    for path in _places(name):
        version = _version(path)
        if isinstance(version, str):
            refused.append(version)
        elif version == server or (newer_too and version > server):
            return Found(path=path, major=version, refused=refused)
        else:
            refused.append(f"{path} is of version {version}, and the server of {server}")
    return Found(path=None, major=0, refused=refused or [f"there is no {name} on this machine"])


def run(command: list[str], environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run one of the programs to its end, without the environment of this process."""
    return subprocess.run(
        command,
        env=program_environment() | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


def _places(name: str) -> Iterator[Path]:
    try:
        embedded = program(name)
    except EmbeddedPostgresFailed:
        embedded = None
    on_path = [Path(folder) / name for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    seen = set()
    for path in (embedded, *on_path, *sorted(_DEBIAN.glob(f"*/bin/{name}"), reverse=True)):
        # Debian's pg_basebackup on PATH is a script that picks a version; it answers like the one that it picks.
        if path is not None and path not in seen and shutil.which(str(path)) is not None:
            seen.add(path)
            yield path


def _version(path: Path) -> int | str:
    """Ask a program for its major version; a sentence when it does not tell."""
    try:
        asked = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_ANSWER_SECONDS_MAX, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path} does not run: {error}"
    told = re.search(r"\(PostgreSQL\) (\d+)", asked.stdout)
    if asked.returncode != 0 or told is None:
        ended = f"signal {-asked.returncode}" if asked.returncode < 0 else f"exit code {asked.returncode}"
        return f"{path} does not run: it ended with {ended}"
    return int(told[1])
