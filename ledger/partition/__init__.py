"""Partitions: which part of the ledger is where, and which part a user or payment belongs to."""

__all__ = ["identities", "partition"]
