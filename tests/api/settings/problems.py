"""The problems that wrong settings have."""

from pathlib import Path

import pytest

from api.settings import Settings, SettingsError


def problems_of(environ: dict[str, str], dotenv: Path | None = None) -> tuple[str, ...]:
    """Load settings that are wrong, and give the problems that the error names."""
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ, dotenv=dotenv)
    return raised.value.problems
