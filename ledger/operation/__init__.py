"""Operation of a whole gateway: an operator pauses and resumes it, and the circuit breaker opens and closes.

Each change is an event of the stream `operation`, so that auditors see who changed what, when and why. The table
`gateway_state` has the state that follows from the events, and two times that no event has: when the next probe may be
made, and until when the gateway has asked to be left alone.
"""

__all__ = ["gateway", "state"]
