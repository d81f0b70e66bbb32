"""The shapes of answers, and functions that make them from rows and events."""

__all__ = ["accounts", "dead_letters", "gateway", "keys", "payments", "stream_history", "trial_balance"]
