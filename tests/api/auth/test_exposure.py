"""Where keys are needed: everywhere except on a loopback address, unless the operator decides otherwise."""

from collections.abc import Iterator

import pytest

from api.auth.exposure import ensure_guarded, is_loopback, needs_keys
from api.settings import Settings, SettingsError
from ledger.store.database import Database
from tests.api.auth.conftest import Keys
from tests.support.databases import fresh_ledger


@pytest.fixture
def database(postgres_url: str) -> Iterator[Database]:
    """Yield an empty ledger for each test."""
    with fresh_ledger(postgres_url) as database:
        yield database


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True),
        ("127.8.9.10", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),  # noqa: S104 - nothing is bound to it
        ("::", False),
        ("10.0.0.1", False),
        ("no-such-host.invalid", False),
        ("fe80::1%lo", False),
    ],
)
def test_a_loopback_address_is_told_from_others(host: str, expected: bool) -> None:  # noqa: FBT001
    """An address that nobody knows is not one."""
    assert is_loopback(host) == expected


@pytest.mark.parametrize(
    ("auth", "host", "expected"),
    [
        ("loopback", "127.0.0.1", False),
        ("loopback", "10.0.0.1", True),
        ("required", "127.0.0.1", True),
        ("required", "10.0.0.1", True),
        ("off", "127.0.0.1", False),
        ("off", "10.0.0.1", False),
    ],
)
def test_the_setting_and_the_address_decide(auth: str, host: str, expected: bool) -> None:  # noqa: FBT001
    """By default, a service on a network asks for keys."""
    assert needs_keys(Settings.load({"AUTH": auth, "HOST": host})) == expected


def test_a_service_on_a_network_does_not_start_without_keys(database: Database) -> None:
    """It says what to do, and starts when there is a key."""
    settings = Settings.load({"HOST": "10.0.0.1"})

    with pytest.raises(SettingsError, match="payment-ledger keys create NAME --scope admin") as refused:
        ensure_guarded(settings, database)

    assert "HOST=127.0.0.1" in str(refused.value)
    assert "AUTH=off" in str(refused.value)
    Keys(database).text("admin")
    ensure_guarded(settings, database)


@pytest.mark.parametrize("environment", [{}, {"HOST": "10.0.0.1", "AUTH": "off"}, {"HOST": "::", "AUTH": "required"}])
def test_a_service_may_start_without_keys(database: Database, environment: dict[str, str]) -> None:
    """On a loopback address, where something else decides, and where all are denied until there is a key."""
    ensure_guarded(Settings.load(environment), database)
