"""The ledger's write side: the only place where money moves.

The way of a payment:

    command (commands.py)
      -> writer.py        one thread a process; batches what comes in and locks the log's head
      -> decisions.py     command + what the ledger looks like -> events, or a refusal (errors.py)
                          account.py and payment.py hold the rules of one account and one payment
      -> books.py         the accounts and payments in memory, evolved by the events
      -> log.py, seal.py  events sealed to the ones before them, stored together with idempotency keys, the gateway
                          queue (keys_and_queue.py) and the new head, in one transaction
      -> answering.py     answers the callers, and wakeup.py tells the processors and projections, after the commit

Nothing here calls the gateway, serves HTTP or builds what clients read: `processors`, `api` and `projections` do.
"""
