"""Keys: their form, their scopes, and their digests.

A key is `pl_<id>_<secret>`. The id finds it, and the secret proves it. The store has only the SHA-256 of the whole
text: the secret has 192 random bits, so nobody can guess it from its digest, and a slow hash would protect nothing.
"""

import hashlib
import re
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Literal, get_args

from msgspec import Struct

from api.errors import RequestInvalid

Scope = Literal["accounts:write", "payments:write", "read", "operate", "audit", "admin"]
"""The right to open users, to ask for payments, to read, to decide about letters, to audit, and to manage keys."""

SCOPES: Final[tuple[Scope, ...]] = get_args(Scope)

SCOPES_OF_BOUND: Final[frozenset[Scope]] = frozenset({"payments:write", "read", "operate"})
"""The scopes with routes about single users. A key that is bound to some users can use no others."""

NAME_CHARACTERS_MAX: Final = 100
USERS_MAX: Final = 1_000
DAYS_MAX: Final = 3_650
KEEP_SECONDS_DEFAULT: Final = 86_400
KEEP_SECONDS_MAX: Final = 30 * 86_400

KEY_ID_PATTERN: Final = r"^[0-9a-f]{16}$"
PREFIX: Final = b"pl_"
KEY_BYTES: Final = len("pl_") + 16 + len("_") + 48

_SHA256: Final = hashlib.sha256()
_ID: Final = slice(len("pl_"), len("pl_") + 16)


class Key(Struct, frozen=True, kw_only=True):
    """A key as it is shown: everything except its secret. `users` are those to which it is bound, None for all.

    `former_until` is the time until which the secret before the last rotation is taken too.
    """

    key_id: str
    name: str
    scopes: Sequence[Scope]
    users: Sequence[int] | None
    created_at: datetime
    created_by: str | None
    expires_at: datetime | None
    revoked_at: datetime | None
    revoked_by: str | None
    former_until: datetime | None
    last_used_at: datetime | None


class KeyWithSecret(Struct, frozen=True, kw_only=True):
    """A key that was just made or rotated, with its whole text, which is shown this once."""

    key: Key
    text: str

    def __repr__(self) -> str:
        """Show no secret."""
        return f"KeyWithSecret(key={self.key!r})"


def new_key_id() -> str:
    """Draw the id of a new key."""
    return secrets.token_hex(8)


def new_text(key_id: str) -> str:
    """Draw a secret, and return the whole text of the key."""
    return f"pl_{key_id}_{secrets.token_hex(24)}"


def digest_of(text: bytes) -> bytes:
    """Return the digest under which the store has a key."""
    digest = _SHA256.copy()  # a copy takes two thirds of the time of a new one
    digest.update(text)
    return digest.digest()


def id_in(text: bytes) -> bytes:
    """Return the part of a key's text that finds it."""
    return text[_ID]


def is_key_id(text: str) -> bool:
    """Tell whether a text can be the id of a key."""
    return re.fullmatch(KEY_ID_PATTERN, text) is not None


def sender(key_id: str) -> str:
    """Return the name under which events have a key."""
    return f"key:{key_id}"


def ensure_fitting(scopes: Collection[Scope], users: Collection[int] | None) -> None:
    """Refuse scopes that a key cannot use. Raises RequestInvalid."""
    if users is not None and (unfit := sorted(set(scopes) - SCOPES_OF_BOUND)):
        fit = ", ".join(scope for scope in SCOPES if scope in SCOPES_OF_BOUND)
        raise RequestInvalid.at("scopes", f"a key that is bound to users can have {fit}, and not {', '.join(unfit)}")
