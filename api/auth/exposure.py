"""Where the service needs keys: by the setting `AUTH`, and by the address on which the service listens."""

import ipaddress
import socket

from api.auth.key_store import has_live_key
from api.settings import Settings, SettingsError
from ledger.store.database import Database


def is_loopback(host: str) -> bool:
    """Tell whether only programs on this machine can reach a host. A name without an address is not such a host."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return all(ipaddress.ip_address(str(each[4][0]).partition("%")[0]).is_loopback for each in found)


def needs_keys(settings: Settings) -> bool:
    """Tell whether each request needs a key."""
    return settings.auth == "required" or (settings.auth == "loopback" and not is_loopback(settings.host))


def ensure_guarded(settings: Settings, database: Database) -> None:
    """Refuse to listen on a network without keys, unless the operator has decided so. Raises SettingsError.

    Two keys cannot agree where nobody needs one.
    """
    if settings.operate_four_eyes and not needs_keys(settings):
        advice = (
            f"OPERATE_FOUR_EYES=true needs two callers that can be told apart, and with AUTH={settings.auth} on"
            f" HOST={settings.host} nobody needs a key: set AUTH=required, or OPERATE_FOUR_EYES=false"
        )
        raise SettingsError(problems=(advice,))
    if settings.auth != "loopback" or is_loopback(settings.host) or has_live_key(database):
        return
    advice = (
        f"HOST={settings.host} is reached from other machines, and there are no keys yet. Make one with"
        " `payment-ledger keys create NAME --scope admin` and start again; or set HOST=127.0.0.1, so that only this"
        " machine reaches the service; or AUTH=off, where a proxy decides who may call"
    )
    raise SettingsError(problems=(advice,))
