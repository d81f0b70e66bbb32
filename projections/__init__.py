"""The read models that clients read, made from the log: one read model is one module with its SQL beside it.

    ledger's log --read_page (contract/log_page.py)--> events
      -> models/          account_balance, payment_status, journal, dead_letter, counters:
                          fold a page of events into rows, and store the rows with one statement or two
                          registry.py   lists them, and says which move together and in which order they are applied
      -> engine/          tracking.py   how far each group has come, and who leads it
                          projector.py  follows the log: rows and tracking in one transaction
                          rebuild.py    makes all of it again beside the live tables, shows the difference and swaps
                          verify.py     compares all of it with the log

`contract/read_model.py` says what a read model declares. A new one is a module and its SQL in `models/`, a migration
that makes its tables, and a line in the registry; rights, tracking, rebuild and audit follow from these.

Nothing here decides anything: the rows of these tables can be thrown away and made again from the events.
"""
