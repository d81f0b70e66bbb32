"""TLS to the gateway: an authority of one's own, a client certificate, and what a failed handshake proves."""

from pathlib import Path

import pytest

from processors.gateways.client import Gateway
from processors.gateways.outcomes import Approved, NoClearAnswer, NotAccepted, Unknown
from processors.gateways.tls import TlsFileWrong, tls_context
from tests.processors.gateways.calls import CALL, OK
from tests.support.gateways.certificates import OPENSSL, Authority, encrypted
from tests.support.gateways.misbehaving import MisbehavingServer, answering, http, never_answering, resetting_after

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(OPENSSL is None, reason="the certificates of these tests are made by openssl"),
]

APPROVING = answering(http("200 OK", OK))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """An authority of the gateway's own, which no public list has."""
    return Authority(tmp_path)


async def test_a_gateway_with_an_authority_of_its_own_is_called(authority: Authority) -> None:
    """Its certificate is verified by the authority's file."""
    with MisbehavingServer(APPROVING, tls=authority.server_context("gateway")) as server:
        tls = tls_context(ca_file=authority.certificate)
        async with Gateway(server.url, timeout_seconds=10, tls=tls) as gateway:
            answer = await gateway.pay(CALL)

    assert answer.outcome == Approved("gw-1")


async def test_nothing_is_sent_to_a_gateway_whose_authority_is_not_trusted(authority: Authority) -> None:
    """The call counts as not accepted, because the handshake ended before the request."""
    with MisbehavingServer(APPROVING, tls=authority.server_context("gateway")) as server:
        async with Gateway(server.url, timeout_seconds=10) as gateway:
            answer = await gateway.pay(CALL)
            inquiry = await gateway.inquire(1025, "payment-1025")

    assert answer.outcome == NotAccepted("certificate_not_verified")
    assert inquiry.outcome == NoClearAnswer("certificate_not_verified")
    assert server.connections >= 2
    assert server.requests == []


async def test_nothing_is_sent_to_a_gateway_with_the_certificate_of_another_name(authority: Authority) -> None:
    """A certificate of the trusted authority for another address does not verify."""
    with MisbehavingServer(APPROVING, tls=authority.server_context("other", address="127.0.0.2")) as server:
        tls = tls_context(ca_file=authority.certificate)
        async with Gateway(server.url, timeout_seconds=10, tls=tls) as gateway:
            answer = await gateway.pay(CALL)

    assert answer.outcome == NotAccepted("certificate_not_verified")
    assert server.requests == []


async def test_an_authority_of_ones_own_replaces_the_others(authority: Authority, tmp_path: Path) -> None:
    """A certificate by any other authority is not trusted beside it."""
    stranger = Authority(tmp_path, "stranger")
    with MisbehavingServer(APPROVING, tls=stranger.server_context("gateway")) as server:
        tls = tls_context(ca_file=authority.certificate)
        async with Gateway(server.url, timeout_seconds=10, tls=tls) as gateway:
            answer = await gateway.pay(CALL)

    assert tls.get_ca_certs(binary_form=True) != []
    assert len(tls.get_ca_certs()) == 1
    assert answer.outcome == NotAccepted("certificate_not_verified")


async def test_a_gateway_that_asks_for_a_certificate_gets_it(authority: Authority) -> None:
    """It may be in one file with its key, or in two."""
    certificate, key = authority.sign("client")
    both = certificate.with_suffix(".both")
    both.write_text(certificate.read_text() + key.read_text())
    answers = []
    with MisbehavingServer(APPROVING, tls=authority.server_context("gateway", asks_clients=True)) as server:
        for certificate_file, key_file in ((certificate, key), (both, None)):
            tls = tls_context(ca_file=authority.certificate, certificate_file=certificate_file, key_file=key_file)
            async with Gateway(server.url, timeout_seconds=10, tls=tls) as gateway:
                answers.append((await gateway.pay(CALL)).outcome)

    assert answers == [Approved("gw-1")] * 2


async def test_a_gateway_that_refuses_our_certificate_leaves_the_outcome_unknown(authority: Authority) -> None:
    """With TLS 1.3 the client learns of that after it may have sent the request."""
    with MisbehavingServer(APPROVING, tls=authority.server_context("gateway", asks_clients=True)) as server:
        async with Gateway(server.url, timeout_seconds=10, tls=tls_context(ca_file=authority.certificate)) as gateway:
            answer = await gateway.pay(CALL)

    assert isinstance(answer.outcome, Unknown)
    assert server.requests == []


@pytest.mark.parametrize(
    ("behaviour", "seconds"), [(resetting_after(b""), 10.0), (never_answering, 0.5)], ids=["reset", "silent"]
)
async def test_a_connection_lost_after_the_handshake_is_unknown(
    authority: Authority, behaviour: object, seconds: float
) -> None:
    """The gateway read the request, whatever TLS says of the end."""
    with MisbehavingServer(behaviour, tls=authority.server_context("gateway")) as server:  # type: ignore[arg-type]
        tls = tls_context(ca_file=authority.certificate)
        async with Gateway(server.url, timeout_seconds=seconds, tls=tls) as gateway:
            answer = await gateway.pay(CALL)

    assert isinstance(answer.outcome, Unknown)
    assert len(server.requests) == 1


class TestFiles:
    """Files that cannot be used are named."""

    def test_a_file_without_certificates_is_named(self, tmp_path: Path) -> None:
        """A file that is missing is named too."""
        text = tmp_path / "ca.pem"
        text.write_text("not a certificate")
        missing = tmp_path / "missing.pem"

        for file in (text, missing):
            with pytest.raises(TlsFileWrong, match=file.name):
                tls_context(ca_file=file)

    def test_a_certificate_without_its_key_is_named(self, authority: Authority) -> None:
        """A certificate with the key of another one is named too."""
        certificate, _ = authority.sign("client")
        _, other_key = authority.sign("other")

        with pytest.raises(TlsFileWrong, match=r"client\.pem"):
            tls_context(certificate_file=certificate)
        with pytest.raises(TlsFileWrong, match=r"other\.key"):
            tls_context(certificate_file=certificate, key_file=other_key)

    def test_an_encrypted_key_is_refused(self, authority: Authority) -> None:
        """Nobody is asked for its password, which a service could not answer."""
        certificate, key = authority.sign("client")

        with pytest.raises(TlsFileWrong, match="encrypted key"):
            tls_context(certificate_file=certificate, key_file=encrypted(key))
