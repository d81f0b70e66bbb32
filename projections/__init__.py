"""What clients read, made from the log: one read model is one module with its SQL beside it.

    ledger's log --read_page (page.py)--> events
      -> payment_status, account_balance, journal, dead_letter, counters
                          fold a page of events into rows, and store the rows with one statement or two
      -> groups.py        which models move together, and in which order they are applied
      -> tracking.py      how far each group has come, and who leads it
      -> projector.py     follows the log: rows and tracking in one transaction
      -> rebuild.py       makes all of it anew beside the live tables, shows the difference and swaps

Nothing here decides anything: what is in these tables can be thrown away and made again from the events.
"""
