"""The command line, `payment-ledger`: one module for each group of commands."""

__all__ = [
    "command",
    "events",
    "failures",
    "integers",
    "lazy_group",
    "ledger_access",
    "options",
    "output",
    "progress",
    "tables",
]
