"""How connections are described: what is given is kept, and what is ours is added."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from ledger.database import Database


def test_a_connection_works_as_the_service_in_the_ledgers_schema() -> None:
    """By options of the connection, which no ROLLBACK or DISCARD ALL takes back."""
    given = conninfo_to_dict(Database("postgresql://host/name", "other").conninfo(application="test"))

    assert given["application_name"] == "test"
    assert given["options"] == "-c search_path=other -c timezone=UTC -c role=other_service"


def test_the_owner_takes_no_role_up() -> None:
    """He may do what the service may not."""
    given = conninfo_to_dict(Database("postgresql://host/name").conninfo(application="test", owner=True))

    assert "role" not in str(given["options"])


def test_what_the_url_says_wins_over_what_we_would_say() -> None:
    """An operator knows his network better; his options stand before ours."""
    url = "postgresql://host/name?connect_timeout=60&keepalives_idle=9&options=-c%20work_mem%3D1MB"

    given = conninfo_to_dict(Database(url).conninfo(application="test", options={"lock_timeout": "1 s"}))

    assert (int(given["connect_timeout"] or 0), int(given["keepalives_idle"] or 0)) == (60, 9)
    assert str(given["options"]).startswith("-c work_mem=1MB -c search_path=ledger")
    assert r"-c lock_timeout=1\ s" in str(given["options"])


@pytest.mark.parametrize(
    ("given", "wanted"), [("read-write", "primary"), ("primary", "primary"), ("any", "any"), ("prefer-standby",) * 2]
)
def test_of_several_servers_the_primary_is_wanted_also_by_sessions_that_only_read(given: str, wanted: str) -> None:
    """For libpq a session that says it only reads is none on a server for reading and writing."""
    url = f"postgresql:///name?host=/one,/other&target_session_attrs={given}"

    described = conninfo_to_dict(Database(url).conninfo(application="test"))

    assert (described["host"], described["target_session_attrs"]) == ("/one,/other", wanted)
