"""A batch from its first try to the answers of its callers."""

import threading
import time

from ledger.errors import DatabaseUnavailable, LedgerError, OutcomeUnknown
from ledger.observe import BatchWritten
from ledger.sessions.pauses import Pauses
from ledger.writer.batch_transaction import StoredBatch
from ledger.writer.callers import PendingCommand, answer_all


class GivenUp(Exception):
    """The callers of the batch are answered, so it must not be committed."""


class BatchInProgress:
    """A batch that is being written: the time until which its callers wait, and the number of tries so far.

    `in_doubt` is the batch as stored when its last COMMIT was sent, until it is known whether that happened, and
    `commit_seconds` is how long that COMMIT took. The writer's thread writes the batch; another thread may give it up
    (`patience`).
    """

    def __init__(self, batch: list[PendingCommand], deadline: float) -> None:
        self.batch = batch
        self.deadline = deadline
        self.tries = 0
        self.pauses = Pauses()
        self.commit_seconds = 0.0
        self.in_doubt: StoredBatch | None = None
        self.is_given_up = False
        self._deciding = threading.Lock()

    def check(self) -> None:
        """Raises GivenUp for a batch that was given up."""
        if self.is_given_up:
            raise GivenUp

    def begin_commit(self, stored: StoredBatch) -> None:
        """Note the batch whose COMMIT is sent next. Raises GivenUp for one that must not be committed any more."""
        with self._deciding:
            self.check()
            self.in_doubt = stored

    def give_up(self) -> None:
        """Answer all callers now: that nothing was stored, and nothing will be, or that it is not known."""
        with self._deciding:
            self.is_given_up = True
            failure = DatabaseUnavailable() if self.in_doubt is None else OutcomeUnknown()
        self.answer(failure)

    def measured(self, stored: StoredBatch) -> BatchWritten:
        """Return how long the parts of a batch took that was written."""
        return BatchWritten(
            commands=len(self.batch),
            head_wait_seconds=stored.head_wait_seconds,
            commit_seconds=self.commit_seconds,
            waited_seconds=time.monotonic() - self.batch[0].arrived,
        )

    def answer(self, failure: LedgerError) -> None:
        """Answer all callers with the same error."""
        answer_all([(waiting, failure) for waiting in self.batch])
