"""Makes text from outside fit for Postgres.

Errors and reasons hold what a gateway or an operator has said. JSON can carry characters that a text column cannot,
and a projector must not stop at them.
"""

from typing import Final, overload

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"
LINE_LENGTH_MAX: Final = 1_000


@overload
def storable(text: str) -> str: ...


@overload
def storable(text: str | None) -> str | None: ...


def storable(text: str | None) -> str | None:
    """Replace NUL and lone surrogates, which UTF-8 in Postgres has no place for, and leave all else as it is."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").replace("\0", REPLACEMENT)


def one_line(error: Exception) -> str:
    """Say what an exception says, in one line of bounded length that a log and a text column can take."""
    return storable(" ".join(f"{type(error).__name__}: {error}".split()))[:LINE_LENGTH_MAX]
