"""One partition in Postgres: sessions, the hash-chained event log, idempotency keys, the gateway queue, migrations.

All SQL statements on the partition's own tables are in this room. No rule about money is.
"""

__all__ = [
    "array_parameters",
    "database",
    "gateway_queue",
    "hash_chain",
    "heartbeats",
    "history",
    "idempotency_keys",
    "log",
    "migrate",
    "notifications",
    "serialization",
    "statements",
]
