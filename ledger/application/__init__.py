"""The `eventsourcing` library on the ledger's store: a recorder, and an application to read accounts and payments."""

__all__ = ["application", "recorder"]
