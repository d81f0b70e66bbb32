"""Serves the metrics of a worker or projector, which have no HTTP server of their own."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server

from api.runtime.ports import address_of, ensure_free
from api.telemetry.process import ProcessMetrics
from ledger.observe import observe_with, stop_observing


@contextmanager
def metrics_served(host: str, port: int) -> Iterator[None]:
    """Measure this process, and serve its metrics on a port; 0 does neither. Raises CannotListen."""
    if port == 0:
        yield
        return
    ensure_free(host, port)
    process = ProcessMetrics()
    observe_with(process.observe)
    server, thread = start_http_server(port, addr=address_of(host), registry=process.registry)
    try:
        yield
    finally:
        stop_observing(process.observe)
        server.shutdown()
        server.server_close()
        thread.join()
