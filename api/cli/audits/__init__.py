"""The commands of `payment-ledger audit`: verify, the books, and copies of the log."""

__all__: list[str] = []
