"""The only way to append to the log: a thread that decides commands in batches and commits each batch once."""

__all__ = ["aggregate_cache", "rehearsal", "writer"]
