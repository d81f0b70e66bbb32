"""Says about an unknown name which known one the client may have meant."""

import re
from collections.abc import Collection, Sequence
from difflib import get_close_matches
from typing import Final

NAME_CHARACTERS_MAX: Final = 100
"""An unknown name is cut to this length before it is compared, and in the answer."""

UNKNOWN_MAX: Final = 10
"""How many unknown names one answer lists."""


def cut(name: str) -> str:
    """Return an unknown name as an answer can show it: not too long, and without half surrogate pairs."""
    return name[:NAME_CHARACTERS_MAX].encode("utf-8", "replace").decode()


def bare(name: str) -> str:
    """Return a name without the signs and capitals by which spellings differ: `userId` and `user_id` are the same."""
    return re.sub(r"[^a-z0-9]", "", name[:NAME_CHARACTERS_MAX].lower())


def advice(name: str, known: Sequence[str], given: Collection[str], *, wanted: Sequence[str] = (), noun: str) -> str:
    """Say about an unknown field or parameter, the `noun`, which one is near, or else which ones there are.

    Of the known names, those that were `given` are not meant. A single one that is `wanted`, which means required and
    not given, is near to any name.
    """
    near = nearest(name, [each for each in known if each not in given])
    if near is None and len(wanted) == 1:
        near = wanted[0]
    if near is not None:
        return f"unknown {noun}; did you mean `{near}`?"
    if known:
        return f"unknown {noun}; known here: {', '.join(f'`{each}`' for each in known)}"
    return f"unknown {noun}; none is known here"


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the known name that is most like another one, or None if none is like it."""
    by_bare = {bare(each): each for each in known}
    near = get_close_matches(bare(name), by_bare, n=1)
    return by_bare[near[0]] if near else None
