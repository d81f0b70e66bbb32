"""Asks libpq whether it reads a database URL. A module of its own, because it loads psycopg."""

import psycopg
from psycopg.conninfo import conninfo_to_dict


def can_read(url: str) -> bool:
    """Tell whether libpq reads a URL: its form, its percent-encoding, and the names of its parameters."""
    try:
        conninfo_to_dict(url)
    except psycopg.ProgrammingError:  # its message may repeat a part of the password
        return False
    return True
