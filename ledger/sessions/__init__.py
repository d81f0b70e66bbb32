"""Sessions of Postgres: the meaning of each error for a session, commits in doubt, pauses, limits on each answer."""

__all__ = [
    "answer_limit",
    "commit_warnings",
    "outage_log",
    "pauses",
    "sqlstates",
]
