"""The demo gateway: a server with a persistent book, whose errors and time-outs a seed can make reproducible."""

__all__ = ["protocol", "scenario", "server", "store"]
