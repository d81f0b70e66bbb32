"""A fresh ledger and a writer for it."""

from tests.ledger.conftest import database, writer

__all__ = ["database", "writer"]
