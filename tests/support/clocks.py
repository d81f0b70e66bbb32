"""A ledger whose database's clock can be set, forward and back, while the service works on it.

`now()` and `clock_timestamp()` are looked up through the search path, where Postgres' own functions come first unless
the path says otherwise. The sessions of a `ClockedDatabase` put the ledger's schema before them, and that schema has
functions of the same names, which add a step to the real clock. So every statement of the program reads the stepped
clock, as it would after somebody has set the server's clock, and the program knows nothing of it. Time limits of
Postgres itself do not follow: they count on the kernel's timers.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

from ledger.store.database import Database, SessionSettings
from ledger.store.migrate import migrate
from projections.models.registry import FOLLOWERS
from tests.support.databases import remove

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

_CLOCK = """
CREATE TABLE stepped_clock (step interval NOT NULL);
INSERT INTO stepped_clock VALUES (interval '0');
GRANT SELECT ON stepped_clock TO PUBLIC;
CREATE FUNCTION now() RETURNS timestamptz STABLE LANGUAGE sql
    AS $$ SELECT pg_catalog.now() + (SELECT step FROM stepped_clock) $$;
CREATE FUNCTION clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql
    AS $$ SELECT pg_catalog.clock_timestamp() + (SELECT step FROM stepped_clock) $$;
"""


class ClockedDatabase(Database, frozen=True):
    """A ledger's database of which a test sets the clock."""

    def settings(self, *, owner: bool = False, options: SessionSettings | None = None) -> dict[str, str]:
        """Return the settings of a session, which finds the schema's own clock before Postgres'."""
        return {**super().settings(owner=owner, options=options), "search_path": f"{self.schema}, pg_catalog"}

    def step_clock(self, by: timedelta) -> None:
        """Set the clock forward, or back, by a duration."""
        self._run("UPDATE stepped_clock SET step = step + %(by)s", by=by)

    def begin_clock(self) -> None:
        """Make the functions, once."""
        with closing(self.connect(application="payment-ledger tests", owner=True)) as connection:
            connection.execute(_CLOCK.encode())

    def _run(self, statement: str, **parameters: Any) -> None:
        with closing(self.connect(application="payment-ledger tests", owner=True)) as connection:
            connection.execute(statement.encode(), parameters)


@contextmanager
def clocked_ledger(url: str) -> Iterator[ClockedDatabase]:
    """Create an empty ledger with a clock of its own, and drop it afterwards."""
    database = ClockedDatabase(url, f"test_{uuid4().hex[:16]}")
    try:
        migrate(database, followers=FOLLOWERS)
        database.begin_clock()
        yield database
    finally:
        remove(database)
