"""TLS to the gateway: the certificate authorities that are trusted, and the certificate that the client shows.

The gateway's certificate and name are always verified. An authority of one's own replaces the public ones, so that no
other authority can vouch for the gateway.
"""

import ssl
from pathlib import Path
from typing import Never

import httpx


class TlsFileWrong(Exception):
    """A file for TLS cannot be used; the text names the file and the reason."""


def tls_context(
    *, ca_file: Path | None = None, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Make the client's side of TLS from PEM files.

    `ca_file` has the authorities to trust instead of the public ones. `certificate_file` has the client's certificate
    with its chain, and the key too unless `key_file` has it. Raises TlsFileWrong.
    """
    context = httpx.create_ssl_context(trust_env=False) if ca_file is None else _trusting(ca_file)
    if certificate_file is not None:
        try:
            context.load_cert_chain(certificate_file, key_file, password=_refuse_password)
        except _KeyEncrypted:
            raise TlsFileWrong(f"{key_file or certificate_file} has an encrypted key; remove its password") from None
        except OSError as error:  # SSLError is one
            names = certificate_file if key_file is None else f"{certificate_file} with {key_file}"
            raise TlsFileWrong(f"{names} is not a PEM certificate with its key: {_reason(error)}") from None
    return context


class _KeyEncrypted(Exception):
    pass


def _trusting(ca_file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies certificates and names
    try:
        context.load_verify_locations(ca_file)
    except OSError as error:  # SSLError is one
        raise TlsFileWrong(f"{ca_file} has no PEM certificates: {_reason(error)}") from None
    return context


def _refuse_password() -> Never:
    """Stop OpenSSL, which would ask the terminal for the password of an encrypted key."""
    raise _KeyEncrypted


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "it cannot be read").replace("_", " ").lower()
    return error.strerror or str(error)
