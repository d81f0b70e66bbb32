"""The commands of `payment-ledger`, one module for each command or group; `api.cli.main` lists them."""

__all__ = []
