"""Amounts in HTTP: exact decimals in requests and answers, never floats.

A request's amount stays the text that the client wrote until `ledger.domain.money` parses it. An answer's amount is a
`Decimal` with all the currency's decimals, which the encoder of `api.http.responses` writes digit by digit as a JSON
number.
"""

from decimal import Decimal

import msgspec
from msgspec import Raw

from ledger.domain.money import amount_from_json_number, amount_from_text, major_units


def amount(raw: Raw) -> Decimal:
    """Parse an amount from a request: a JSON number, or a string that is a plain decimal number.

    Raises AmountInvalid.
    """
    text = bytes(raw).decode()
    if not text.startswith('"'):
        return amount_from_json_number(text)
    return amount_from_text(msgspec.json.decode(text, type=str))


def decimal(amount_minor: int, currency: str) -> Decimal:
    """Convert minor units to the decimal of an answer: 20400 US cents are 204.00."""
    return major_units(amount_minor, currency=currency)
