"""Connection settings: the URL's are kept, and ours are added."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.store.database import Database


def test_a_connection_works_as_the_service_in_the_ledgers_schema() -> None:
    """The role is an option of the connection, which ROLLBACK and DISCARD ALL do not reset."""
    given = conninfo_to_dict(Database("postgresql://host/name", "other").conninfo(application="test"))

    assert given["application_name"] == "test"
    assert given["client_encoding"] == "UTF8"
    assert str(given["options"]).startswith(r"-c search_path=other -c timezone=UTC -c datestyle=ISO,\ MDY -c ")
    assert str(given["options"]).endswith(" -c role=other_service")


def test_the_owner_keeps_its_own_role() -> None:
    """The owner may do things that the service may not."""
    given = conninfo_to_dict(Database("postgresql://host/name").conninfo(application="test", owner=True))

    assert "role" not in str(given["options"])


def test_parameters_of_the_url_take_precedence() -> None:
    """Operators know their network: the URL's parameters take precedence, and its options stand before ours."""
    url = "postgresql://host/name?connect_timeout=60&keepalives_idle=9&options=-c%20work_mem%3D1MB"

    given = conninfo_to_dict(Database(url).conninfo(application="test", options={"lock_timeout": "1 s"}))

    assert (int(given["connect_timeout"] or 0), int(given["keepalives_idle"] or 0)) == (60, 9)
    assert str(given["options"]).startswith("-c work_mem=1MB -c search_path=ledger")
    assert r"-c lock_timeout=1\ s" in str(given["options"])


@pytest.mark.parametrize(
    ("given", "wanted"), [("read-write", "primary"), ("primary", "primary"), ("any", "any"), ("prefer-standby",) * 2]
)
def test_read_only_sessions_also_ask_for_the_primary(given: str, wanted: str) -> None:
    """For libpq, a read-only session does not match read-write, so the target becomes the primary."""
    url = f"postgresql:///name?host=/one,/other&target_session_attrs={given}"

    described = conninfo_to_dict(Database(url).conninfo(application="test"))

    assert (described["host"], described["target_session_attrs"]) == ("/one,/other", wanted)
