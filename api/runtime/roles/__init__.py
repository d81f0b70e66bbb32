"""The parts of the service as processes of their own: one module for each part, and their common frame.

A part's module is loaded when the part starts (`running`), because no process needs all of them.
"""

__all__ = ["running"]
