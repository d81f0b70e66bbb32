"""Answers about keys, over HTTP and on the command line."""

from typing import ClassVar

from msgspec import Struct
from msgspec.structs import asdict

from api.auth.keys import Key, KeyWithSecret, Scope
from api.http.times import Timestamp, optional_timestamp, timestamp


class KeyView(Struct, frozen=True, kw_only=True):
    """A key without its secret. `user_ids` are the users to whom it is bound, null for all.

    `created_by` and `revoked_by` are keys too, null for the command line. `former_until` is the time until which the
    secret before the last rotation is taken. `last_used_at` may be a minute late.
    """

    key_id: str
    name: str
    scopes: list[Scope]
    user_ids: list[int] | None
    created_at: Timestamp
    created_by: str | None
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    revoked_by: str | None
    former_until: Timestamp | None
    last_used_at: Timestamp | None

    EXAMPLE: ClassVar[object] = {
        "key_id": "4f1c8a02d7be9635",
        "name": "the shop's server",
        "scopes": ["payments:write", "read"],
        "user_ids": [1, 2],
        "created_at": "2026-11-23T09:30:00.000000Z",
        "created_by": None,
        "expires_at": "2027-11-23T09:30:00.000000Z",
        "revoked_at": None,
        "revoked_by": None,
        "former_until": None,
        "last_used_at": None,
    }


class NewKeyView(KeyView, frozen=True, kw_only=True):
    """A key that was just made or rotated. `key` is its whole text, which no later answer has."""

    key: str

    EXAMPLE: ClassVar[object] = {**KeyView.EXAMPLE, "key": "pl_4f1c8a02d7be9635_" + "x" * 48}  # type: ignore[dict-item]


def key_view(key: Key) -> KeyView:
    """Show a key."""
    return KeyView(
        key_id=key.key_id,
        name=key.name,
        scopes=list(key.scopes),
        user_ids=None if key.users is None else list(key.users),
        created_at=timestamp(key.created_at),
        created_by=key.created_by,
        expires_at=optional_timestamp(key.expires_at),
        revoked_at=optional_timestamp(key.revoked_at),
        revoked_by=key.revoked_by,
        former_until=optional_timestamp(key.former_until),
        last_used_at=optional_timestamp(key.last_used_at),
    )


def new_key_view(made: KeyWithSecret) -> NewKeyView:
    """Show a key with its text, this once."""
    return NewKeyView(key=made.text, **asdict(key_view(made.key)))
