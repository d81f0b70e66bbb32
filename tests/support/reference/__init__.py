"""Writes the reference pages that follow from the code: errors, commands, events, tables, routes, a payment's states.

`python -m tests.support.reference` rewrites them under `docs/`; tests compare them with what it would write.
"""
