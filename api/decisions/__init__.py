"""Decisions about dead letters: one or many at once, after asking the gateway, with a second key where needed."""

__all__ = [
    "answers",
    "approvals",
    "approving",
    "bulk",
    "bulk_plan",
    "gateway_questions",
    "letter_decisions",
    "parts",
]
