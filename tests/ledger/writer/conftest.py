"""Runs a test with batches sent in small parts, and with batches sent at once."""

import pytest

from ledger.writer.batch_transaction import PART_MAX


@pytest.fixture(params=[1, PART_MAX], ids=["in_parts", "at_once"])
def part_max(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send the inserts of a batch after each command, or after all of them."""
    monkeypatch.setattr("ledger.writer.batch_transaction.PART_MAX", request.param)
