"""The gateway process: it claims due payments, calls the gateway, and decides the next step from the outcome."""

__all__ = ["breaker", "call_slots", "retry_policy", "worker"]
