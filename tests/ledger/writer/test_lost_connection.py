"""Connections that break around the commit, and a database that cannot be reached."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from ledger.audit.verify import verify_seals
from ledger.errors import BalanceLimitExceeded, DatabaseUnavailable, OutcomeUnknown
from ledger.store.database import Database, SessionSettings
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger
from tests.support.ledgers.running_writer import (
    answer,
    deposit,
    given_account,
    in_doubt,
    inquiry,
    log_topics,
    withdrawal,
)
from tests.support.proxies import PostgresProxy, proxy_before
from tests.support.waiting import wait_until

WRITER = "payment-ledger writer"
"""The application name of the session that may be cut at any query; the other one of the process sends wake-ups."""


@pytest.mark.parametrize("cut", ["before_commit", "after_commit", "late_commit", "any_query"])
def test_a_connection_lost_around_the_commit_neither_loses_nor_doubles(postgres_url: str, cut: Any) -> None:
    """The seal at the batch's last position tells whether the COMMIT arrived."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema))
        writer.start()
        given_account(writer)

        proxy.cut_application, proxy.cut = WRITER, cut
        requested = answer(writer.submit(deposit("200")))
        writer.stop()

        assert proxy.cuts == 1
        assert requested.payment_id == 1
        assert log_topics(database).count("payment.requested") == 1
        assert verify_seals(database).ok


def test_a_commit_without_an_answer_forgets_no_deposit_on_its_way(postgres_url: str) -> None:
    """The writer reads the account of the lost batch again, together with the sum of its pending deposits."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema))
        writer.start()
        given_account(writer)
        asyncio.run(writer.execute_all([deposit("10000000000000") for _ in range(9)]))

        proxy.cut = "after_commit"
        answer(writer.submit(withdrawal("50")))
        with pytest.raises(BalanceLimitExceeded):
            answer(writer.submit(deposit("10000000000000")))
        writer.stop()

        assert proxy.cuts == 1
        assert log_topics(database).count("payment.requested") == 10


def test_a_batch_without_events_survives_a_lost_commit(postgres_url: str) -> None:
    """The log cannot show whether it was committed, so it is carried out again, which changes nothing."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema))
        writer.start()
        given_account(writer)
        in_doubt(writer, withdrawal("50"))

        proxy.cut = "after_commit"
        standing = answer(writer.submit(inquiry(seen_version=4, inquiry=2)))
        writer.stop()

        assert proxy.cuts == 1
        assert standing.state == "in_doubt"


def test_a_database_that_stays_away_refuses_commands_and_is_used_again_when_back(postgres_url: str) -> None:
    """The caller gets a refusal that says to try again, and the refused command is not written later."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), patience_seconds=0.3)
        writer.start()
        given_account(writer)

        proxy.refusing = True
        proxy.lose_all()
        with pytest.raises(DatabaseUnavailable):
            answer(writer.submit(deposit("200")))
        proxy.refusing = False
        requested = answer(writer.submit(deposit("200")))
        writer.stop()

        assert requested.payment_id == 1


def test_a_commit_that_cannot_be_looked_up_is_answered_as_unknown(postgres_url: str) -> None:
    """The client may send the request again with the same key, and gets the first answer."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        writer = Writer(Database(proxy.url, database.schema), patience_seconds=0.3)
        writer.start()
        given_account(writer)

        proxy.refuse_after_cut, proxy.cut = True, "after_commit"
        with pytest.raises(OutcomeUnknown):
            answer(writer.submit(deposit("200", key="k")))
        proxy.refusing = False
        again = answer(writer.submit(deposit("200", key="k")))
        writer.stop()

        assert (again.payment_id, again.replayed) == (1, True)


def test_a_writer_that_never_reaches_its_database_refuses_and_stops() -> None:
    """Nothing listens on that port, and the stop closes no connection."""
    writer = Writer(Database("postgresql://127.0.0.1:1/nowhere"), patience_seconds=0.1)
    writer.start()

    with pytest.raises(DatabaseUnavailable):
        answer(writer.submit(deposit()))

    writer.stop()


# --- a pooler that drops options when it is restarted ---------------------------------------------------------------

_DROPS_OPTIONS = """
CREATE TABLE pooler (drops boolean NOT NULL);
INSERT INTO pooler VALUES (false);
GRANT SELECT ON pooler TO PUBLIC;
CREATE FUNCTION current_setting(name text, missing_ok boolean) RETURNS text STABLE LANGUAGE sql
    AS $$ SELECT CASE WHEN name = 'lock_timeout' AND (SELECT drops FROM pooler) THEN '0'
                      ELSE pg_catalog.current_setting(name, missing_ok) END $$;
"""


class PooledDatabase(Database, frozen=True):
    """A ledger's database behind a proxy and a pooler, which drops an option of new sessions when the test says so.

    The sessions of a writer ask for `lock_timeout`, and read their settings through a function of the schema.
    """

    def settings(self, *, owner: bool = False, options: SessionSettings | None = None) -> dict[str, str]:
        """Return the settings of a session, which finds the schema's own function before Postgres'."""
        return {**super().settings(owner=owner, options=options), "search_path": f"{self.schema}, pg_catalog"}


class Pooler:
    """The proxy, and what the pooler does with the options of the next sessions."""

    def __init__(self, proxy: PostgresProxy, database: Database) -> None:
        self.proxy = proxy
        self._database = database
        self._run(_DROPS_OPTIONS)

    def drop_options(self, *, drops: bool = True) -> None:
        """Drop the options of new sessions, or pass them on again."""
        self._run(f"UPDATE pooler SET drops = {drops}")

    def _run(self, statements: str) -> None:
        with psycopg.connect(self._database.url, autocommit=True) as connection:
            connection.execute(f"SET search_path = {self._database.schema}".encode())
            connection.execute(statements.encode())


@contextmanager
def pooled(postgres_url: str, **settings: Any) -> Iterator[tuple[Writer, Pooler, Database]]:
    """Run a writer behind a pooler, with one account."""
    with fresh_ledger(postgres_url) as database, proxy_before(postgres_url) as proxy:
        pooler = Pooler(proxy, database)
        writer = Writer(PooledDatabase(proxy.url, database.schema), **settings)
        writer.start()
        try:
            given_account(writer)
            yield writer, pooler, database
        finally:
            writer.stop()


@pytest.mark.parametrize("cut", ["before_commit", "after_commit"])
def test_a_session_that_is_refused_leaves_a_commit_in_doubt(postgres_url: str, cut: Any) -> None:
    """No other answer would be true: a definite error says that the command was not carried out."""
    with pooled(postgres_url, patience_seconds=0.5) as (writer, pooler, database):
        pooler.drop_options()
        pooler.proxy.cut = cut
        with pytest.raises(OutcomeUnknown):
            answer(writer.submit(deposit("200", key="k")))
        pooler.drop_options(drops=False)
        again = answer(writer.submit(deposit("200", key="k")))

        assert (again.payment_id, again.replayed) == (1, cut == "after_commit")
        assert log_topics(database).count("payment.requested") == 1


def test_a_session_that_is_refused_for_a_moment_refuses_no_command(postgres_url: str) -> None:
    """The next session has what the writer asks for, and the batch is decided on it."""
    with pooled(postgres_url) as (writer, pooler, database):
        pooler.drop_options()
        pooler.proxy.cut_application, pooler.proxy.cut = WRITER, "any_query"
        future = writer.submit(deposit("200"))
        wait_until(lambda: "lock_timeout" in (writer.trouble or ""))
        pooler.drop_options(drops=False)

        assert answer(future).payment_id == 1
        assert writer.trouble is None
        assert log_topics(database).count("payment.requested") == 1


def test_a_command_is_told_to_try_again_while_sessions_are_refused(postgres_url: str) -> None:
    """An operator has to act on the pooler; the command is correct, and was not carried out."""
    with pooled(postgres_url, patience_seconds=0.5) as (writer, pooler, database):
        pooler.drop_options()
        pooler.proxy.lose_all()
        with pytest.raises(DatabaseUnavailable):
            answer(writer.submit(deposit("200")))

        assert log_topics(database) == ["account.opened"]
