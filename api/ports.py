"""Finds out whether the service can listen where it is told to, before anything is started."""

import errno
import socket


class CannotListen(Exception):
    """The service cannot listen where its settings say; the text names the place and what is wrong with it."""


class PortTaken(CannotListen):
    """Another program listens there."""


def ensure_free(host: str, port: int) -> None:
    """Make sure that nobody listens at a place yet. Raises PortTaken, CannotListen.

    The HTTP server itself would not notice: it shares a port with whoever lets it.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as listener:
            # Connections that a former run has closed linger for a minute, and are no reason to wait.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(f"{place(host, port)} is taken by another program") from None
        raise CannotListen(f"{place(host, port)} cannot be listened on: {error.strerror}") from None


def place(host: str, port: int) -> str:
    """Write host and port as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(host: str) -> str:
    """Give the address of a host name, because the HTTP server knows no names. Raises CannotListen."""
    try:
        return str(socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise CannotListen(f"{host} has no address: {error.strerror}") from None
