"""An embedded Postgres for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from api.runtime.embedded_postgres.server import EmbeddedPostgres


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """Yield a server on a directory of its own, whose path has a space in it, and stop it at the end."""
    used = EmbeddedPostgres(tmp_path / "a ledger", create=True)
    yield used
    used.stop()
