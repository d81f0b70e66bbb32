"""Servers for tests beside the run's Postgres: clusters, poolers, and a server whose clock steps."""
