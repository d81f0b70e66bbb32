"""Whole numbers on the command line, each with a bound that the database can hold."""

from typing import Final

import click

from api.http.cursors import LIMIT_MAX, OFFSET_MAX
from ledger.domain.identifiers import ID_MAX

POSITION_MAX: Final = 2**63 - 1

IDENTIFIER: Final = click.IntRange(1, ID_MAX)
"""The id of a user or a payment."""

POSITION: Final = click.IntRange(0, POSITION_MAX)
"""A position of the log; 0 is before its first event."""

LIMIT: Final = click.IntRange(1, LIMIT_MAX)
"""How many items of a list are shown, as over HTTP."""

OFFSET: Final = click.IntRange(0, OFFSET_MAX)
"""How many items of a list are skipped, as over HTTP."""
