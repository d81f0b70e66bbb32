"""Tests of the metrics: the figures of processes, and those of the ledger."""
