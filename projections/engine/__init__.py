"""The machinery of the read models: the projector that follows the log, rebuilding, and verification."""

__all__ = ["projector", "rebuild", "verify"]
