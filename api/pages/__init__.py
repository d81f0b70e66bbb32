"""Pages at the root of the service: where to go from here, and what each code of a problem means."""

__all__ = ["home", "problems"]
