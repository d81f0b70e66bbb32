"""Limits on callers: requests and payments by key or client address, and requests under way in one process."""

__all__ = ["at_once", "headers", "marks", "rates", "stores"]
