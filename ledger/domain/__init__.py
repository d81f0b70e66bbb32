"""The rules of the business: money, events, commands, and how an account or a payment decides and evolves.

Everything here is pure. Time, identifiers and randomness are arguments, and nothing here knows the database.
"""

__all__ = [
    "account",
    "commands",
    "decide",
    "decision",
    "events",
    "evolve",
    "gateway_schedule",
    "identifiers",
    "invariants",
    "kinds",
    "money",
    "payment",
]
