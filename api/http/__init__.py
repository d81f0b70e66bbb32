"""Code that all routes share: it reads request bodies, amounts, times and cursors, and writes answers and problems."""

__all__ = [
    "amounts",
    "cors",
    "cursors",
    "deadlines",
    "head_requests",
    "idempotency_keys",
    "parameters",
    "problem_table",
    "problems",
    "request_body",
    "request_ids",
    "responses",
    "times",
]
