"""The HTTP resources, one module each: routes and handlers."""

__all__ = [
    "audit",
    "batches",
    "dead_letters",
    "gateway",
    "health",
    "keys",
    "metrics",
    "mock_gateway",
    "payments",
    "prometheus",
    "request",
    "users",
]
