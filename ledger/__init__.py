"""The ledger's write side: the only place where money moves.

How a payment command is processed:

    command (domain/commands.py)
      -> writer/writer.py   one thread in each process; batches the waiting commands and locks the head of the log
      -> domain/decide.py   command + current state -> events, or a refusal (errors.py)
                            account.py and payment.py have the rules of one account and one payment
      -> domain/evolve.py   applies the events to the accounts and payments in memory (writer/aggregate_cache.py)
      -> store/log.py       seals the events to the ones before them; the writer stores them together with idempotency
                            keys, gateway queue entries and the new head, in one transaction
      -> writer/callers.py  answers the callers after the commit, and store/notifications.py wakes the processors and
                            projections

This package does not call the gateway, serve HTTP or build read models; `processors`, `api` and `projections` do.
"""
