"""The read models, one module and one SQL file each: the rows that a model keeps, and how it folds events into them."""

__all__ = ["counters", "dead_letter", "payment_status", "registry", "trial_balance"]
