"""Metrics for Prometheus: the figures of each process, and those of the whole ledger, which the database has."""

__all__ = ["exposition", "http_requests", "process", "server"]
