"""Parses idempotency keys, of headers, of a batch's items and of the command line."""

from typing import Final

from api.errors import IdempotencyKeyInvalid
from ledger.domain.identifiers import IDEMPOTENCY_KEY_CHARACTERS, is_idempotency_key

IDEMPOTENCY_KEY_PATTERN: Final = (
    rf'^(?:"{IDEMPOTENCY_KEY_CHARACTERS}"|[!#-~](?:[ -~]{{0,253}}[!-~])?|"(?:[ -~]{{0,253}}[!#-~])?)?$'
)
"""For the documentation: a quoted key, an unquoted key, a key that only begins with a quote, or an empty text."""


RESERVED: Final = ("approval-", "bulk-")
"""How the keys begin under which the service itself carries out decisions."""


def decision_key(text: str | None) -> str | None:
    """Parse the idempotency key of a decision, which may not be one of the service's own. As `idempotency_key`."""
    key = idempotency_key(text)
    if key is not None and key.startswith(RESERVED):
        raise IdempotencyKeyInvalid
    return key


def idempotency_key(text: str | None) -> str | None:
    """Parse an idempotency key. None or an empty text gives None. Raises IdempotencyKeyInvalid."""
    if not text:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    key = text[1:-1] if quoted else text
    if not is_idempotency_key(key):
        raise IdempotencyKeyInvalid
    return key
