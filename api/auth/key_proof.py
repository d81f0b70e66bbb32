"""Proves a key for a command of the command line, as the API does for a request."""

from api.auth.key_ring import KeyRing, LiveKey
from api.auth.keys import KEY_BYTES, PREFIX, Scope
from api.errors import KeyBoundElsewhere, ScopeMissing, Unauthenticated
from ledger.store.database import Database


async def proven_key(database: Database, text: bytes, need: Scope) -> LiveKey:
    """Return the live key with this text, if it may do what `need` says for all users.

    Raises Unauthenticated, ScopeMissing, KeyBoundElsewhere, DatabaseUnavailable.
    """
    if not text.startswith(PREFIX) or len(text) != KEY_BYTES:
        raise Unauthenticated
    ring = KeyRing(database, refreshes=False)
    async with ring.running():
        await ring.refresh()
        key = ring.find(text)
        if key is None:
            raise Unauthenticated
        if need not in key.scopes:
            raise ScopeMissing(scope=need)
        if key.users is not None:
            raise KeyBoundElsewhere
        ring.note(key)
        return key
