"""Queries for requests: a pool of connections, queries of the read models, and the status of the service."""

__all__ = [
    "accounts",
    "demo_gateway",
    "health_evidence",
    "health_rule",
    "history",
    "last_verification",
    "merged",
    "payments",
    "pool",
    "service_status",
]
