"""Marks the tests that look only at files: `make test ARGS="-m structure"` runs it in seconds, without a database."""

from pathlib import Path
from typing import Final

import pytest

HERE: Final = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, except those that ask for a Postgres."""
    for item in items:
        if item.path.is_relative_to(HERE) and "postgres_url" not in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.structure)
