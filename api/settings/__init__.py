"""The settings: one table of every name that the service reads, and the struct of their values.

    table.py        the rows, one for each setting
    settings.py     `Settings`, the values of the rows checked against each other, and the values derived from them
    declaration.py  what a row says
    parsers.py      the values that a row can take (libpq.py judges database URLs)
    loading.py      reads the rows from an environment and from `.env` (dotenv.py)
    files.py        writes .env.example, the environment of docker-compose.yml and the reference page from the rows

To add a setting, add its row to `table.py` and run `make generated`.
"""

from api.settings.dotenv import CHECKOUT, find_dotenv
from api.settings.loading import Reading, SettingsError
from api.settings.settings import Settings
from api.settings.table import SEED_MAX

__all__ = [
    "CHECKOUT",
    "SEED_MAX",
    "Reading",
    "Settings",
    "SettingsError",
    "declaration",
    "find_dotenv",
    "loading",
    "parsers",
]
