"""Simulated gateways: a demo gateway for trying the service, and a chaos gateway for the tests."""

__all__ = []
