"""The gateway side of payments: claim due payments, call the gateway, and report the outcomes to the ledger's writer.

`gateways` has the HTTP client, which returns outcomes as data; `payments` has the worker, the process and the retry
policy. `simulators` has two gateways: a demo gateway to try the service with, and a chaos gateway to test it with,
which misbehaves in every known way. This package never moves money in the ledger itself; it sends commands.
"""
