"""The way of a payment through the gateway: claim what is due, call, and report the outcome to the ledger's writer.

`gateway` talks to the gateway and gives the outcome as data (`outcomes`); `retry_policy` says how long to wait;
`demo_gateway` is a gateway to try all this with, and `chaos_gateway` one to prove it with, which does all that gateways
do wrong. Nothing here moves money in the ledger: it sends commands.
"""
