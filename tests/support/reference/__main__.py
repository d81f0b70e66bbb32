"""Rewrites the generated pages: `python -m tests.support.reference`. Tables are read from a Postgres of its own."""

import tempfile
from pathlib import Path

from api.runtime.embedded_postgres.server import EmbeddedPostgres
from tests.support.databases import fresh_ledger
from tests.support.reference.pages import CHECKOUT, write_pages

if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as directory,
        EmbeddedPostgres(Path(directory) / "var", create=True) as url,
        fresh_ledger(url) as database,
    ):
        for path in write_pages(database):
            print(f"wrote {path.relative_to(CHECKOUT)}")  # noqa: T201 - a program's answer
