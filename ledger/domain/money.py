"""Money as integers: amounts, currencies and the fee.

Inside the ledger an amount is a whole number of minor units (`amount_minor`), and the currency says how many decimals
make one major unit. Decimals exist only at the edge, and both ways are exact: text goes in through `amount_from_text`
or `amount_from_json_number` and `minor_units`, comes out through `major_units`, and no float is ever made on the way.

The limits are business rules: a single amount is `AMOUNT_MINOR_MAX` at most, and a balance `BALANCE_MINOR_MAX`. The
schema checks the balance too, so that no other program can store more.
"""

import re
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final

from ledger.errors import AmountInvalid, CurrencyUnknown

EXACT_MAX: Final = 2**53 - 1
"""The largest whole number that JavaScript, and any other reader of JSON that has only doubles, can read exactly."""

AMOUNT_MINOR_MAX: Final = 10**15
AMOUNT_CHARACTERS_MAX: Final = 400
BALANCE_MINOR_MAX: Final = EXACT_MAX
FEE_RATE_PPM_MAX: Final = 1_000_000

_TWO_DECIMALS: Final = """
    AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE CHF CHW CNY COP
    COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
    JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN
    NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL
    THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED VES WST XAD XCD XCG YER ZAR ZMW ZWG
"""
_NO_DECIMALS: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE_DECIMALS: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR_DECIMALS: Final = "CLF UYW"

CURRENCY_DECIMALS: Final[dict[str, int]] = {
    code: decimals
    for decimals, codes in ((0, _NO_DECIMALS), (2, _TWO_DECIMALS), (3, _THREE_DECIMALS), (4, _FOUR_DECIMALS))
    for code in codes.split()
}
"""How many decimals a currency has, by its ISO 4217 code."""

_PLAIN: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_JSON_NUMBER: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?", re.ASCII)
_EXPONENT_MAX: Final = 100_000  # above this the decimal module raises errors of its own
_AMOUNT_MAX: Final = Decimal(AMOUNT_MINOR_MAX)  # decimals compare with decimals in half the time
_EXACT: Final = Context(prec=2 * AMOUNT_CHARACTERS_MAX, traps=[Inexact, InvalidOperation])


def currency_decimals(currency: str) -> int:
    """Return the number of decimals of a currency.

    Raises CurrencyUnknown for a code that is not in ISO 4217's list of currencies with minor units.
    """
    try:
        return CURRENCY_DECIMALS[currency]
    except KeyError:
        raise CurrencyUnknown(currency=currency[:16]) from None


def amount_from_text(text: str) -> Decimal:
    """Read an amount written as `[0-9]+(.[0-9]+)?`, in ASCII digits only.

    Raises AmountInvalid when the text is anything else.
    """
    if len(text) > AMOUNT_CHARACTERS_MAX or not _PLAIN.fullmatch(text):
        raise AmountInvalid(why="it is not a plain decimal number, such as 12.50")
    return Decimal(text)


def amount_from_json_number(text: str) -> Decimal:
    """Read an amount from a JSON number as the client wrote it, an exponent included, so `2e2` is 200.

    Raises AmountInvalid for a sign (an amount is never negative, not even `-0`) and for text that is not a JSON number.
    """
    if len(text) > AMOUNT_CHARACTERS_MAX or not _JSON_NUMBER.fullmatch(text):
        raise AmountInvalid(why="it is below zero" if text.startswith("-") else "it is not a valid amount")
    return Decimal(text)


def minor_units(amount: Decimal, *, currency: str) -> int:
    """Turn an amount into minor units, exactly: 204.00 US dollars are 20400.

    Zeros may follow the currency's last decimal: 1.500 dollars are a valid amount, 1.505 are not. Raises
    AmountInvalid when the amount is finer than its currency, below zero or above AMOUNT_MINOR_MAX.
    """
    if amount.is_nan() or abs(amount.adjusted()) > _EXPONENT_MAX:
        raise AmountInvalid(why="it is not a valid amount")
    scaled = amount.scaleb(currency_decimals(currency), _EXACT)
    if scaled.is_signed():
        raise AmountInvalid(why="it is below zero")
    if scaled > _AMOUNT_MAX:
        most = decimal_text(AMOUNT_MINOR_MAX, currency=currency)
        raise AmountInvalid(why=f"it is above {most}, the most a single amount may be")
    amount_minor = int(scaled)
    if scaled != amount_minor:
        raise AmountInvalid(why=f"{currency} has {currency_decimals(currency)} decimals and it has more")
    return amount_minor


def major_units(amount_minor: int, *, currency: str) -> Decimal:
    """Turn minor units into an amount with all the currency's decimals: 20400 US cents are 204.00."""
    return _EXACT.scaleb(amount_minor, -currency_decimals(currency))


def decimal_text(amount_minor: int, *, currency: str) -> str:
    """Write minor units as a decimal with all the currency's decimals: 20400 US cents are `204.00`."""
    return f"{major_units(amount_minor, currency=currency):f}"


def fee_minor(amount_minor: int, *, rate_ppm: int) -> int:
    """Charge `rate_ppm` millionths of an amount, rounded half up to a whole minor unit.

    A rate between 0 and FEE_RATE_PPM_MAX gives a fee between nothing and the whole amount.
    """
    assert 0 <= rate_ppm <= FEE_RATE_PPM_MAX, rate_ppm
    assert amount_minor >= 0, amount_minor
    return (2 * amount_minor * rate_ppm + FEE_RATE_PPM_MAX) // (2 * FEE_RATE_PPM_MAX)
