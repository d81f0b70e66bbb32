"""Makes, lists, rotates and revokes keys in the store, for HTTP and for the command line.

Each action is one statement in a session of its own, because such actions are rare. A running API sees the change when
it reads the keys the next time. Each action raises OutcomeUnknown when its commit is in doubt.
"""

from collections.abc import Collection, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any, Final

from api.auth.keys import Key, KeyWithSecret, Scope, digest_of, ensure_fitting, new_key_id, new_text
from api.errors import KeyEnded, KeyNotFound
from ledger.sessions.commit_warnings import certain_commits
from ledger.store.database import WARNED, Database
from ledger.store.statements import load_statements

SQL: Final = load_statements("api.auth", "key_store.sql")

_ALL: Final = 1_000_000


def create_key(
    database: Database,
    *,
    name: str,
    scopes: Collection[Scope],
    users: Collection[int] | None = None,
    lifetime: timedelta | None = None,
    by: str | None = None,
) -> KeyWithSecret:
    """Make a key, which ends after `lifetime`, None for never. Raises RequestInvalid for scopes that do not fit."""
    ensure_fitting(scopes, users)
    key_id = new_key_id()
    text = new_text(key_id)
    facts = {
        "id": key_id,
        "name": name,
        "scopes": sorted(set(scopes)),
        "users": None if users is None else sorted(set(users)),
        "digest": digest_of(text.encode()),
        "lifetime": lifetime,
        "by": by,
    }
    return KeyWithSecret(key=_key(_rows(database, "insert_key", facts)[0]), text=text)


def list_keys(database: Database, *, limit: int = _ALL, offset: int = 0) -> list[Key]:
    """List all keys, the newest first, revoked and expired ones too."""
    return [_key(row) for row in _rows(database, "list_keys", {"limit": limit, "offset": offset})]


def rotate_key(database: Database, key_id: str, *, keep: timedelta) -> KeyWithSecret:
    """Give a key a new secret; the one before is taken for `keep` longer. Raises KeyNotFound, KeyEnded."""
    text = new_text(key_id)
    rows = _rows(database, "rotate_key", {"id": key_id, "keep": keep, "digest": digest_of(text.encode())})
    if rows:
        return KeyWithSecret(key=_key(rows[0]), text=text)
    if _rows(database, "key_exists", {"id": key_id}):
        raise KeyEnded(key_id=key_id)
    raise KeyNotFound(key_id=key_id)


def revoke_key(database: Database, key_id: str, *, by: str | None = None) -> Key:
    """End a key with both of its secrets, for good. Raises KeyNotFound."""
    rows = _rows(database, "revoke_key", {"id": key_id, "by": by})
    if not rows:
        raise KeyNotFound(key_id=key_id)
    return _key(rows[0])


def has_live_key(database: Database) -> bool:
    """Tell whether there is a key that can be used."""
    return bool(_rows(database, "has_live_key", {})[0][0])


def _rows(database: Database, name: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    connecting = database.connect(application="payment-ledger keys", options=WARNED)
    with closing(connecting) as connection, certain_commits(connection):
        return connection.execute(SQL[name], parameters).fetchall()


def _key(row: tuple[Any, ...]) -> Key:
    return Key(**dict(zip(Key.__struct_fields__, row, strict=True)))
