"""Amounts at the edge: decimals in and out, exactly, and never as a float.

A request's amount is kept as the text that the client wrote until `ledger.money` reads it. An answer's amount is a
`Decimal` with all the currency's decimals, which the encoder of `api.answers` writes digit by digit as a JSON number.
"""

from decimal import Decimal
from typing import Annotated

import msgspec
from litestar.params import KwargDefinition
from msgspec import Raw

from ledger.money import amount_from_json_number, amount_from_text, major_units

Amount = Annotated[Raw, KwargDefinition(ge=0)]
"""An amount in a request, as the client wrote it: zero or more."""

AmountAboveZero = Annotated[Raw, KwargDefinition(gt=0)]
"""The same where zero is none."""


def amount(raw: Raw) -> Decimal:
    """Read an amount from a request: a JSON number, or a string with a plain decimal number in it.

    Raises AmountInvalid.
    """
    text = bytes(raw).decode()
    if not text.startswith('"'):
        return amount_from_json_number(text)
    return amount_from_text(msgspec.json.decode(text, type=str))


def decimal(amount_minor: int, currency: str) -> Decimal:
    """Write minor units for an answer: 20400 US cents are 204.00."""
    return major_units(amount_minor, currency=currency)
