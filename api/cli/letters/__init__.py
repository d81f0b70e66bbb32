"""The commands of `payment-ledger dlq`: look at dead letters, decide about one or many, and approve decisions."""

__all__: list[str] = []
