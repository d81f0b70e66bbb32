"""Actions of operators and auditors on the ledger, which the command line offers."""

__all__ = [
    "checkpoint",
    "dead_letters",
    "decision_text",
    "each_partition",
    "roles",
    "several_partitions",
    "status",
    "verification",
]
