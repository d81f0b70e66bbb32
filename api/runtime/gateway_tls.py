"""TLS to the gateway by the settings. Loaded where it is needed, because the HTTP client takes long to load."""

import ssl

from api.settings import Settings, SettingsError
from processors.gateways.tls import TlsFileWrong, tls_context


def gateway_tls(settings: Settings) -> ssl.SSLContext:
    """Make the client's side of TLS. Raises SettingsError, which names the file that is wrong."""
    try:
        return tls_context(
            ca_file=settings.gateway_ca_file,
            certificate_file=settings.gateway_cert_file,
            key_file=settings.gateway_key_file,
        )
    except TlsFileWrong as wrong:
        raise SettingsError(problems=(f"GATEWAY_CA_FILE, GATEWAY_CERT_FILE, GATEWAY_KEY_FILE: {wrong}",)) from None
