"""Recognises a commit that only this server has.

When somebody cancels the wait for the synchronous standby, Postgres answers the COMMIT, or the statement that commits
by itself, with a warning. After a fail-over the commit may be gone, so it is in doubt, like one without an answer.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import psycopg.errors

from ledger.errors import OutcomeUnknown
from ledger.sessions.answer_limit import AnyConnection


class CommitInDoubt(psycopg.errors.StatementCompletionUnknown):
    """The server answered a commit with a warning, so the standbys may not have what it committed."""


class CommitWarnings:
    """The warnings of one caller's session. Its `client_min_messages` must let warnings through."""

    def __init__(self) -> None:
        self._warned = False

    def watch(self, connection: AnyConnection) -> None:
        """Watch a new connection."""
        connection.add_notice_handler(self._note)

    def begin(self) -> None:
        """Forget earlier warnings, before a statement that commits."""
        self._warned = False

    def check(self) -> None:
        """Raise CommitInDoubt when the server has warned since `begin`."""
        if self._warned:
            raise CommitInDoubt

    def _note(self, notice: psycopg.errors.Diagnostic) -> None:
        # A severity and not an SQLSTATE: the server gives this warning the code of all warnings, and there is none at a
        # commit that leaves it certain.
        self._warned = self._warned or notice.severity_nonlocalized == "WARNING"


@contextmanager
def certain_commits(connection: AnyConnection) -> Iterator[None]:
    """Hold the commits of the block to be certain. Raises OutcomeUnknown after a block with one that is in doubt.

    It is for rare changes with a session of their own. To make one again must be harmless.
    """
    warnings = CommitWarnings()
    warnings.watch(connection)
    yield
    try:
        warnings.check()
    except CommitInDoubt as in_doubt:
        raise OutcomeUnknown from in_doubt
