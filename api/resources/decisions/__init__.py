"""The resources of decisions about many letters, and of requests that need a second key."""

__all__ = ["approvals", "bulk"]
