"""TLS of the API by the settings: the files are tried before anything is started, so that a wrong one is named."""

import ssl
from pathlib import Path
from typing import Never

from api.settings import Settings, SettingsError


def server_tls(settings: Settings) -> tuple[Path, Path] | None:
    """Return the files of certificate and key; None without TLS. Raises SettingsError, which names the files."""
    if settings.ssl_certificate is None or settings.ssl_key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
            settings.ssl_certificate, settings.ssl_key, password=_refuse_password
        )
    except _KeyEncrypted:
        why = f"{settings.ssl_key} has an encrypted key; remove its password"
    except OSError as error:  # SSLError is one
        reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        why = (
            f"{settings.ssl_certificate} with {settings.ssl_key} is not a PEM certificate with its key:"
            f" {str(reason).replace('_', ' ').lower()}"
        )
    else:
        return settings.ssl_certificate, settings.ssl_key
    raise SettingsError(problems=(f"SSL_CERTIFICATE, SSL_KEY: {why}",))


class _KeyEncrypted(Exception):
    pass


def _refuse_password() -> Never:
    """Stop OpenSSL, which would ask the terminal for the password of an encrypted key."""
    raise _KeyEncrypted
