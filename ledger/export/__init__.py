"""A log as a file: exports it, imports it into an empty store, activates that store, and retires the one before it."""

__all__ = ["activate", "errors", "exporter", "importer", "retire"]
