"""Reads the input of a request strictly: bodies, names of fields and parameters, and messages in the words of JSON."""

__all__ = ["bodies", "header_fields", "messages", "parameters", "trace_context"]
