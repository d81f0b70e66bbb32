"""The migrations of the store as SQL files, and what each says about the parts of an older program."""

__all__ = ["older_parts"]
