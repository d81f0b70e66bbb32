"""The embedded Postgres, which runs under the data directory when DATABASE_URL is not set."""

__all__ = ["keeping", "programs", "restored_cluster", "server"]
