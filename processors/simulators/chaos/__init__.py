"""The chaos gateway: a server that misbehaves in every known way, reproducibly for each seed."""

__all__ = ["scenario", "server"]
