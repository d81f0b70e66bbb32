"""The audit of a store: it verifies the hash chain, every stream, and every table that follows from the events."""

__all__ = [
    "check_bounds",
    "check_events",
    "check_hash_chain",
    "check_idempotency_keys",
    "check_streams",
    "findings",
    "places",
    "verify",
]
