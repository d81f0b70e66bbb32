"""Prepares a process for the world that it was started in: an optimising Python, and odd or closed standard streams."""

import io
import os
import sys
from contextlib import suppress
from typing import Final, TextIO

STANDARD_STREAMS: Final = (0, 1, 2)


class PythonOptimises(Exception):
    """Python was started so that it leaves out assertions and docstrings."""


def refuse_optimised_python() -> None:
    """Refuse a Python without assertions, which guard the books, and without docstrings. Raises PythonOptimises."""
    if sys.flags.optimize:
        raise PythonOptimises(
            "Python was told to leave out assertions, by PYTHONOPTIMIZE or -O. They guard the books, so nothing was"
            " started; unset PYTHONOPTIMIZE."
        )


def repair_streams() -> None:
    """Make the standard streams such that no text can fail, and no connection can take their place.

    A closed stream becomes the null device, in child processes too: otherwise the next file or connection would get
    its number, and somebody's output with it. A character that a terminal does not have is written as its escape.
    """
    for number in STANDARD_STREAMS:
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
        os.set_inheritable(number, True)  # noqa: FBT003 - the function takes it so
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)


def _writable(stream: TextIO | None) -> TextIO:
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - lives as long as the process
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")
    return stream
