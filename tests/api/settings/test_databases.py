"""Settings that say where the ledger is: how URLs are spelled, that no password is repeated, and the partitions."""

import pytest

from api.runtime.database import partitions_of
from api.settings import Settings
from api.settings.parsers import PARTITIONS
from ledger.domain.identifiers import SLOTS
from tests.api.settings.problems import problems_of


def test_a_ledger_has_at_most_as_many_partitions_as_slots() -> None:
    """The settings have the number in words of their own, because they load no part of the ledger."""
    assert f"from 1 to {SLOTS}" in PARTITIONS.takes


def test_partitions_have_databases_of_their_own_or_one_for_all() -> None:
    """A URL may name several hosts with commas, so spaces separate the URLs."""
    given = {"DATABASE_URL": "postgresql://a/x", "LEDGER_PARTITIONS": "2"}
    each = given | {"LEDGER_PARTITION_URLS": "postgres://a,b/x  postgresql://c/x"}

    found = [partitions_of(Settings.load(environ), "postgresql://a/x") for environ in (given, each)]

    assert [[partition.database.url for partition in partitions] for partitions in found] == [
        ["postgresql://a/x", "postgresql://a/x"],
        ["postgresql://a,b/x", "postgresql://c/x"],
    ]
    assert [partition.schema for partition in found[1]] == ["ledger_0", "ledger_1"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("postgresql://ada:pw@db:5432/ledger", "postgresql://ada:pw@db:5432/ledger"),
        ("postgres://db/ledger", "postgresql://db/ledger"),
        ("postgresql+asyncpg://ada:p%40w@db/ledger", "postgresql://ada:p%40w@db/ledger"),
        ("PostgreSQL+psycopg2://db/ledger", "postgresql://db/ledger"),
        ("postgresql:///ledger?host=/run/postgresql", "postgresql:///ledger?host=/run/postgresql"),
        ("postgresql+asyncpg://a,b:5433/ledger?ssl=true", "postgresql://a,b:5433/ledger?sslmode=require"),
        ("postgresql://db/ledger?ssl=require", "postgresql://db/ledger?sslmode=require"),
        ("postgresql://db/ledger?ssl=False", "postgresql://db/ledger?sslmode=disable"),
        (
            "postgresql://db/x?ssl=verify_full&connect_timeout=3",
            "postgresql://db/x?sslmode=verify-full&connect_timeout=3",
        ),
        ("postgresql://ada:why?@db/ledger", "postgresql://ada:why?@db/ledger"),
    ],
)
def test_a_database_url_may_be_spelled_for_other_libraries(given: str, expected: str) -> None:
    """The original's URL, made for asyncpg, reaches the same database."""
    assert expected == Settings.load({"DATABASE_URL": given}).database_url


@pytest.mark.parametrize(
    "url", ["postgresql://ada:s3/cret@db/ledger", "mysql://ada:s3/cret@db", "postgresql://ada:s3%cret@db/x"]
)
def test_no_password_is_ever_repeated(url: str) -> None:
    """Neither the message about a wrong URL nor the settings' repr shows a part of the password."""
    said = "".join(problems_of({"DATABASE_URL": url}))
    gateway = "".join(problems_of({"PAYMENT_GATEWAY_URL": "http://me:s3cret@"}))
    shown = repr(
        Settings.load(
            {
                "DATABASE_URL": "postgresql://u:s3cret@db/x",
                "PAYMENT_GATEWAY_URL": "http://u:s3cret@pay.example",
                "LIMIT_STORE_URL": "redis://:s3cret@cache:6379/0",
            }
        )
    )

    for text in (said, gateway, shown):
        assert "s3" not in text
        assert "cret" not in text
