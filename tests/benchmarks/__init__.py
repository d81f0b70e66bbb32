"""How fast the ledger is here: scenarios measured beside references, on the same Postgres, with every promise kept.

`payment-ledger bench` runs `python -m tests.benchmarks`. What is to be reached stands in `targets`, what a scenario
does in its own module, and what is common to them in `running`. No measured path is special: parts are started by their
own commands with their default settings, and after each scenario the books are verified.
"""
