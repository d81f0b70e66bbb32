"""The processes of the service: the supervisor, the role of each process, readiness, logs, and their database."""

__all__ = [
    "database",
    "gateway_tls",
    "gc_tuning",
    "http_readiness",
    "logs",
    "masking",
    "ports",
    "process_proof",
    "server_tls",
    "supervisor",
]
