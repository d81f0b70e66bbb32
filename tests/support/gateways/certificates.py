"""Certificates for tests of TLS, made by `openssl`: an authority, and certificates that it signs."""

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")


class Authority:
    """A certificate authority with files in a directory."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self.certificate = directory / f"{name}.pem"
        self._directory = directory
        self._key = directory / f"{name}.key"
        _openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"),
            *("-subj", f"/CN={name}", "-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def sign(self, name: str, *, address: str = "127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """Make a certificate for an IP address. Returns the files of the certificate and of its key."""
        certificate, key, request = (self._directory / f"{name}.{kind}" for kind in ("pem", "key", "csr"))
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName=IP:{address}\n")
        _openssl(
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request)),
        )
        _openssl(
            *("x509", "-req", "-in", str(request), "-CA", str(self.certificate), "-CAkey", str(self._key)),
            *("-CAcreateserial", "-days", str(days), "-extfile", str(extensions), "-out", str(certificate)),
        )
        return certificate, key

    def server_context(self, name: str, *, address: str = "127.0.0.1", asks_clients: bool = False) -> ssl.SSLContext:
        """Make a server's side of TLS with a certificate of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.sign(name, address=address))
        if asks_clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate)
        return context


def encrypted(key: Path) -> Path:
    """Encrypt a key with a password. Returns the new file."""
    made = key.with_suffix(".encrypted")
    _openssl("pkey", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(made))
    return made


def _openssl(*words: str) -> None:
    assert OPENSSL is not None, "tests that need openssl are skipped without it"
    subprocess.run([OPENSSL, *words], check=True, capture_output=True)
