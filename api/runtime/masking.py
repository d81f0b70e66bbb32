"""Makes texts safe to show: passwords are masked, and control characters cannot rule a terminal."""

import re
from typing import Final

_SECRETS: Final = (
    # Up to the last @ of the word: a password with an @ in it that nobody escaped is still a password.
    re.compile(r"(?P<before>://[^\s:/@]*:)[^\s/]+(?=@)"),
    re.compile(r"(?P<before>pl_[0-9a-f]{16}_)[0-9a-f]{8,}"),
    re.compile(r"(?P<before>\b\w*(?:password|secret)=)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE),
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def mask(text: str) -> str:
    """Hide the passwords and the secrets of keys in a text."""
    for secret in _SECRETS:
        text = secret.sub(r"\g<before>***", text)
    return text


def escape_control_characters(text: str) -> str:
    r"""Write control characters, and halves of surrogate pairs, as `\x1b` and `\ud800`; lines stay lines."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), whole)
