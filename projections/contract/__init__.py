"""The contract between the engine and the read models: pages of the log, table names, text that Postgres can store."""

__all__ = ["columns", "event_kinds", "log_page", "postgres_text", "postings", "read_model", "table_names"]
