"""Actions of operators and auditors on the ledger, which the command line offers."""

__all__ = ["dead_letters", "decision_text", "roles", "status", "verification"]
