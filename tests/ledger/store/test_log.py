"""The log's append checks the head before anything is committed."""

from contextlib import closing

import pytest

from ledger.errors import LogBroken
from ledger.store.database import Database
from ledger.store.log import SQL, Head, Row, append


def test_a_batch_is_not_committed_if_the_head_has_moved(database: Database) -> None:
    """If a row lock did not hold, the insert alone would succeed, and the compare-and-set does not."""
    with closing(database.connect(application="test")) as connection, connection.transaction(force_rollback=True):
        (row,) = connection.execute(SQL["lock_head"]).fetchall()
        elsewhere = Head(7, *row[1:])

        with connection.pipeline():
            appending = append(connection, elsewhere, [Row("test-1", 1, "test.happened", b"{}")], moved=elsewhere)

        with pytest.raises(LogBroken) as broken:
            appending.check()
    assert broken.value.position == 8


def test_an_append_returns_the_next_head(database: Database) -> None:
    """It has the new position and seal, and the counters that the caller gave."""
    with closing(database.connect(application="test")) as connection, connection.transaction():
        (row,) = connection.execute(SQL["lock_head"]).fetchall()
        head = Head(*row)
        with connection.pipeline():
            appending = append(connection, head, [Row("test-1", 1, "test.happened", b"{}")], moved=head)
        reached = appending.check()

    with closing(database.connect(application="test")) as connection:
        assert Head(*connection.execute(SQL["read_head"]).fetchall()[0]) == reached
    assert (reached.position, len(reached.digest)) == (1, 32)
