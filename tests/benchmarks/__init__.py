"""How fast the ledger is on this machine: scenarios measured beside references, on the same Postgres.

`payment-ledger bench` runs `python -m tests.benchmarks`. The limits are in `targets`, each scenario has a module of its
own, and their common parts are in `running`. No measured path is special: parts are started by their own commands with
their default settings, and after each scenario the ledger is verified.
"""
