"""The API speaks TLS with the certificate of the settings, and a file that is wrong is named before anything starts."""

import ssl
from pathlib import Path

import httpx
import pytest

from api.runtime.server_tls import server_tls
from api.settings import Settings, SettingsError
from tests.support.databases import fresh_ledger
from tests.support.gateways.certificates import OPENSSL, Authority, encrypted
from tests.support.services import Service
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="certificates are made by openssl")


def settings_with(certificate: Path, key: Path) -> Settings:
    return Settings.load({"SSL_CERTIFICATE": str(certificate), "SSL_KEY": str(key)})


def wrong(certificate: Path, key: Path) -> str:
    with pytest.raises(SettingsError) as refused:
        server_tls(settings_with(certificate, key))
    return str(refused.value)


def test_the_files_of_the_settings_are_used(tmp_path: Path) -> None:
    """Without them the API speaks plain HTTP."""
    certificate, key = Authority(tmp_path).sign("api")

    assert server_tls(settings_with(certificate, key)) == (certificate, key)
    assert server_tls(Settings.load({})) is None


def test_a_wrong_file_is_named(tmp_path: Path) -> None:
    """A key of another certificate, a key with a password, and a file that is not there."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("api")
    _, other_key = authority.sign("other")

    assert str(other_key) in wrong(certificate, other_key)
    assert "encrypted" in wrong(certificate, encrypted(key))
    assert "no such file" in wrong(tmp_path / "nowhere.pem", key)


@pytest.mark.parametrize("name", ["SSL_CERTIFICATE", "SSL_KEY"])
def test_one_file_alone_is_refused(name: str) -> None:
    """A mistyped name must not mean plain HTTP."""
    with pytest.raises(SettingsError, match="belong together"):
        Settings.load({name: "some.pem"})


def test_the_api_speaks_tls_and_nothing_else(tmp_path: Path, postgres_url: str) -> None:
    """A client that trusts the authority is answered, plain HTTP is not, and the health check finds the API ready."""
    authority = Authority(tmp_path)
    certificate, key = authority.sign("api")
    trusting = ssl.create_default_context(cafile=str(authority.certificate))
    with fresh_ledger(postgres_url) as database:
        service = Service(
            tmp_path,
            DATABASE_URL=database.url,
            LEDGER_SCHEMA=database.schema,
            SSL_CERTIFICATE=str(certificate),
            SSL_KEY=str(key),
        )
        url = service.url.replace("http:", "https:")
        with service.another("api"):
            wait_until(lambda: service.run("ready", "api").returncode == 0)
            answer = httpx.get(f"{url}/livez", verify=trusting)
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{service.url}/livez")
            with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
                httpx.get(f"{url}/livez", verify=ssl.create_default_context())

    assert answer.status_code == 200
