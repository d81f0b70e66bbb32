"""`rebuild`: read models are compared with the log, and made from it."""

import json

from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.api.cli.shell import Shell, as_owner, declined_deposit, project


def test_a_rebuild_mends_read_models_and_says_what_was_wrong(shell: Shell, database: Database, writer: Writer) -> None:
    """The exit code tells whether it found errors. The second time it finds none."""
    declined_deposit(writer)
    project(database)
    as_owner(database, "UPDATE account_balance SET posted_minor = posted_minor + 1")

    checked = shell.run("rebuild", "--check-only", "--json")
    mended = shell.run("rebuild")
    again = shell.run("rebuild", "--json")

    assert (checked.returncode, mended.returncode, again.returncode) == (1, 1, 0)
    differing = {table["table"]: table["differing"] for table in json.loads(checked.stdout)["differences"]}
    assert differing["account_balance"] == 1
    assert "100001" in mended.stdout
