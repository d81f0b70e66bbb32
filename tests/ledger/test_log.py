"""The log's append: what it makes sure of before anything is committed."""

from contextlib import closing

import pytest

from ledger.database import Database
from ledger.errors import LogBroken
from ledger.log import SQL, Head, Row, append


def test_a_head_that_was_not_where_it_was_read_keeps_the_batch_from_being_committed(database: Database) -> None:
    """As when a row lock did not hold: the insert alone would go through, and the compare-and-set does not."""
    with closing(database.connect(application="test")) as connection, connection.transaction(force_rollback=True):
        (row,) = connection.execute(SQL["lock_head"]).fetchall()
        elsewhere = Head(7, *row[1:])

        with connection.pipeline():
            appending = append(connection, elsewhere, [Row("test-1", 1, "test.happened", b"{}")], moved=elsewhere)

        with pytest.raises(LogBroken) as broken:
            appending.check()
    assert broken.value.position == 8


def test_what_was_appended_is_the_head_that_follows(database: Database) -> None:
    """With its position and seal, and with the counters that the caller gave."""
    with closing(database.connect(application="test")) as connection, connection.transaction():
        (row,) = connection.execute(SQL["lock_head"]).fetchall()
        head = Head(*row)
        with connection.pipeline():
            appending = append(connection, head, [Row("test-1", 1, "test.happened", b"{}")], moved=head)
        reached = appending.check()

    with closing(database.connect(application="test")) as connection:
        assert Head(*connection.execute(SQL["read_head"]).fetchall()[0]) == reached
    assert (reached.position, len(reached.digest)) == (1, 32)
