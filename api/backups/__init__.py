"""Base back-ups of the database: takes one, checks it, and restores it to a moment into an empty data directory."""

__all__ = ["restore", "take"]
