"""Checks, before any part is started, that the service can listen at its addresses."""

import errno
import socket


class CannotListen(Exception):
    """The service cannot listen at an address in its settings; the text names the address and the reason."""


class PortTaken(CannotListen):
    """Another program listens at the address."""


def ensure_free(host: str, port: int) -> None:
    """Check that no program listens at an address yet. Raises PortTaken, CannotListen.

    The HTTP server itself would not notice, because it shares its port with any program that allows that.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # Closed connections of a former run stay in TIME_WAIT for a minute, which need not prevent listening.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{place(host, port)} is taken by another program") from None
        raise CannotListen(f"{place(host, port)} cannot be used for listening: {error.strerror}") from None


def place(host: str, port: int) -> str:
    """Return host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(host: str) -> str:
    """Return the IP address of a host name, because the HTTP server accepts only addresses. Raises CannotListen."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise CannotListen(f"{host} has no address: {error.strerror}") from None
