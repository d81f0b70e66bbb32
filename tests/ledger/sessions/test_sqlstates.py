"""The table of SQLSTATE classes: the meaning of an error for session, batch and caller."""

import psycopg
import psycopg.errors
import pytest

from ledger.sessions.sqlstates import LOST, MEANINGS, UNFORESEEN, Batch, meaning_of

ERRORS = [psycopg.errors.lookup(sqlstate) for sqlstate in sorted(psycopg.errors._sqlcodes)]


@pytest.mark.parametrize(
    ("error", "ends_session", "batch"),
    [
        (psycopg.OperationalError("the connection was lost"), True, Batch.AGAIN),
        (psycopg.InterfaceError("the connection is closed"), True, Batch.AGAIN),
        (psycopg.DataError("a text may not contain NUL"), False, Batch.SINGLY),
        (psycopg.ProgrammingError("a placeholder without a value"), True, Batch.AGAIN_THEN_SINGLY),
        (psycopg.errors.ReadOnlySqlTransaction(), True, Batch.AGAIN),
        (psycopg.errors.InsufficientPrivilege(), True, Batch.AGAIN),
        (psycopg.errors.InvalidSqlStatementName(), True, Batch.AGAIN),
        (psycopg.errors.DuplicatePreparedStatement(), True, Batch.AGAIN),
        (psycopg.errors.FeatureNotSupported(), True, Batch.AGAIN),
        (psycopg.errors.AdminShutdown(), True, Batch.AGAIN),
        (psycopg.errors.QueryCanceled(), False, Batch.AGAIN),
        (psycopg.errors.LockNotAvailable(), False, Batch.AGAIN),
        (psycopg.errors.SerializationFailure(), False, Batch.AGAIN),
        (psycopg.errors.DeadlockDetected(), False, Batch.AGAIN),
        (psycopg.errors.DiskFull(), False, Batch.AGAIN),
        (psycopg.errors.UniqueViolation(), False, Batch.AGAIN_THEN_SINGLY),
        (psycopg.errors.CheckViolation(), False, Batch.SINGLY),
        (psycopg.errors.UntranslatableCharacter(), False, Batch.SINGLY),
        (psycopg.errors.ProgramLimitExceeded(), False, Batch.SINGLY),
        (psycopg.errors.InternalError_(), True, Batch.AGAIN_THEN_SINGLY),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_an_error_has_its_meaning(error: psycopg.Error, ends_session: bool, batch: Batch) -> None:  # noqa: FBT001
    """A session that cannot do its work is closed; a batch is written singly only when its data may be at fault."""
    meaning = meaning_of(error)

    assert (meaning.ends_session, meaning.batch) == (ends_session, batch)


@pytest.mark.parametrize("error_class", ERRORS, ids=lambda error_class: error_class.sqlstate)
def test_only_a_fault_of_the_data_refuses_a_command(error_class: type[psycopg.Error]) -> None:
    """Of all errors that Postgres has, three classes are about the data of a command."""
    meaning = meaning_of(error_class())

    assert meaning.is_of_data == (str(error_class.sqlstate)[:2] in {"22", "23", "54"})


def test_an_error_outside_the_table_ends_the_session() -> None:
    """It is tried again on a new one, and not for ever."""
    error = psycopg.errors.lookup("P0001")()

    assert meaning_of(error) is UNFORESEEN
    assert UNFORESEEN.ends_session


def test_an_error_that_names_no_class_is_a_lost_connection() -> None:
    """The client library has no SQLSTATE for it."""
    assert meaning_of(psycopg.OperationalError()) is LOST


def test_no_class_is_named_like_another() -> None:
    """An operator reads the words only, and has to find the row again."""
    words = [meaning.words for sqlstate, meaning in MEANINGS.items() if sqlstate not in {"22", "23"}]

    assert sorted(set(words)) == sorted(words)
