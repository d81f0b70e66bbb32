"""Calls to a payment gateway: the HTTP client, and the tables from its answers to outcomes."""

__all__ = ["client", "outcomes", "tls"]
