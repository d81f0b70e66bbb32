"""Money: valid and invalid amounts, exact conversion in both directions, and the fee."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.domain.money import (
    AMOUNT_MINOR_MAX,
    BALANCE_MINOR_MAX,
    CURRENCY_DECIMALS,
    FEE_RATE_PPM_MAX,
    amount_from_json_number,
    amount_from_text,
    currency_decimals,
    decimal_text,
    fee_minor,
    minor_units,
)
from ledger.errors import AmountInvalid, CurrencyUnknown

CURRENCIES = st.sampled_from(sorted(CURRENCY_DECIMALS))
AMOUNTS_MINOR = st.integers(0, AMOUNT_MINOR_MAX)
RATES_PPM = st.integers(0, FEE_RATE_PPM_MAX)


# --- currencies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("currency", "decimals"),
    [
        ("USD", 2),
        ("EUR", 2),
        ("GBP", 2),
        ("RUB", 2),
        ("JPY", 0),
        ("KRW", 0),
        ("UYI", 0),
        ("KWD", 3),
        ("TND", 3),
        ("CLF", 4),
        ("UYW", 4),
    ],
)
def test_a_currency_has_the_decimals_that_iso_4217_gives_it(currency: str, decimals: int) -> None:
    """Most have two, some none, three or four."""
    assert decimals == currency_decimals(currency)


def test_every_currency_is_three_capital_letters_and_has_at_most_four_decimals() -> None:
    """The table holds codes as ISO 4217 writes them, and nothing slipped between its lines."""
    assert all(len(code) == 3 and code.isascii() and code.isupper() for code in CURRENCY_DECIMALS)
    assert {0, 2, 3, 4} == set(CURRENCY_DECIMALS.values())
    assert len(CURRENCY_DECIMALS) > 150


@pytest.mark.parametrize(
    "code", ["", "usd", "US", "USDX", "XXX", "XTS", "XAU", "UЅD", " USD", "USD\n", "DEM", "\ud800"]
)
def test_a_code_that_is_no_currency_with_minor_units_is_refused(code: str) -> None:
    """Neither metals nor test codes, neither small letters nor look-alikes."""
    with pytest.raises(CurrencyUnknown) as refused:
        currency_decimals(code)

    assert code == refused.value.currency


def test_a_refused_currency_is_told_only_in_its_first_characters() -> None:
    """A client cannot blow up an answer with a code of a megabyte."""
    with pytest.raises(CurrencyUnknown) as refused:
        currency_decimals("Z" * 1_000_000)

    assert refused.value.currency == "Z" * 16


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("0", Decimal(0)),
        ("0.00", Decimal(0)),
        ("200", Decimal(200)),
        ("200.00", Decimal(200)),
        ("12.50", Decimal("12.5")),
        ("00012.50", Decimal("12.5")),
        ("0" * 396 + "1.25", Decimal("1.25")),
    ],
)
def test_an_amount_as_text_is_plain_digits_with_at_most_one_point(text: str, amount: Decimal) -> None:
    """Also when it is as long as an amount may be written."""
    assert amount == amount_from_text(text)
    assert amount == amount_from_json_number(text)


NO_AMOUNT_IN_ANY_FORM = [
    "",
    " ",
    "1_000",
    "1,000",
    "1,5",
    "+1",
    " 1",
    "1 ",
    "1\n",
    "\n1",
    "1\u00a0",
    "\ufeff1",
    "1.",
    ".5",
    ".",
    "1.2.3",
    "--1",
    "0x10",
    "NaN",
    "nan",
    "sNaN",
    "Infinity",
    "inf",
    "١٢٣",  # Arabic digits, which Decimal would read
    "１２３",  # full-width digits
    "1\u0660",
    "²",
    "½",
    "1\x00",
    "1e",
    "e5",
    "$5",
    "5 USD",
    "true",
    "null",
    "\ud800",
    "1" * 401,
    "0." + "0" * 399,
    "9" * 100_000,
]


@pytest.mark.parametrize("text", [*NO_AMOUNT_IN_ANY_FORM, "-1", "-0", "-0.00", "1e2", "1E2", "2e0"])
def test_other_text_is_no_amount(text: str) -> None:
    """Signs, exponents and other text that Decimal would accept (`1_000`, ` 1`, Arabic digits, NaN) are refused."""
    with pytest.raises(AmountInvalid) as refused:
        amount_from_text(text)

    assert refused.value.why == "it is not a plain decimal number, such as 12.50"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("2e2", Decimal(200)),
        ("2E+2", Decimal(200)),
        ("25e-1", Decimal("2.5")),
        ("0e0", Decimal(0)),
        ("0e999", Decimal(0)),
        ("1e999", Decimal("1e999")),
        ("1e-999", Decimal("1e-999")),
    ],
)
def test_a_json_number_may_have_an_exponent(text: str, amount: Decimal) -> None:
    """JSON writes 200 as `2e2` too, and nothing is lost on the way."""
    assert amount == amount_from_json_number(text)


@pytest.mark.parametrize("text", [*NO_AMOUNT_IN_ANY_FORM, "1e1000", "1e99999999999", "1e+-2", "1e 2", "1e2.5", "1e1_0"])
def test_what_is_no_json_number_is_no_amount(text: str) -> None:
    """Huge exponents are refused too, because writing them out would take all memory."""
    with pytest.raises(AmountInvalid) as refused:
        amount_from_json_number(text)

    assert refused.value.why == ("it is below zero" if text.startswith("-") else "it is not a valid amount")


@pytest.mark.parametrize("text", ["-1", "-0", "-0.0", "-1e3", "-1e-3"])
def test_a_json_number_with_a_sign_is_below_zero(text: str) -> None:
    """Not even minus zero is an amount."""
    with pytest.raises(AmountInvalid) as refused:
        amount_from_json_number(text)

    assert refused.value.why == "it is below zero"


@given(text=st.text() | st.text("0123456789.eE+-_ ٣", max_size=12))
def test_any_text_is_an_amount_or_refused(text: str) -> None:
    """Reading raises no other error, and accepts ASCII digits only."""
    for read in (amount_from_text, amount_from_json_number):
        try:
            amount = read(text)
        except AmountInvalid:
            continue

        assert amount == Decimal(text) >= 0
        assert set(text) <= set("0123456789.eE+-")
        assert text[0].isdigit()


# --- minor units -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "currency", "amount_minor"),
    [
        ("204.00", "USD", 20_400),
        ("204", "USD", 20_400),
        ("0.01", "USD", 1),
        ("1.500", "USD", 150),
        ("1.5000000000000000000000000000000000", "USD", 150),
        ("0", "USD", 0),
        ("0.000", "JPY", 0),
        ("7.0", "JPY", 7),
        ("0.001", "KWD", 1),
        ("0.0001", "CLF", 1),
        ("10000000000000.00", "USD", 10**15),
        ("10000000000000.000", "USD", 10**15),
        ("1000000000000000", "JPY", 10**15),
        ("1000000000000", "KWD", 10**15),
        ("2e2", "USD", 20_000),
        ("0e999", "USD", 0),
        ("0e-999", "USD", 0),
    ],
)
def test_an_amount_becomes_minor_units_exactly(amount: str, currency: str, amount_minor: int) -> None:
    """204.00 dollars are 20400 cents, and the most that a single amount may be is 10^15 of them."""
    assert amount_minor == minor_units(Decimal(amount), currency=currency)


@pytest.mark.parametrize(
    ("amount", "currency", "why"),
    [
        ("1.505", "USD", "USD has 2 decimals and it has more"),
        ("0.001", "USD", "USD has 2 decimals and it has more"),
        ("0.5", "JPY", "JPY has 0 decimals and it has more"),
        ("0.0001", "KWD", "KWD has 3 decimals and it has more"),
        ("1e-999", "USD", "USD has 2 decimals and it has more"),
        ("9999999999999.999", "USD", "USD has 2 decimals and it has more"),
        ("1." + "0" * 300 + "1", "USD", "USD has 2 decimals and it has more"),
        ("-1", "USD", "it is below zero"),
        ("-0", "USD", "it is below zero"),
        ("-0.001", "USD", "it is below zero"),
        ("10000000000000.01", "USD", "it is above 10000000000000.00, the most a single amount may be"),
        ("10000000000000.001", "USD", "it is above 10000000000000.00, the most a single amount may be"),
        ("1000000000000001", "JPY", "it is above 1000000000000000, the most a single amount may be"),
        ("1e30", "USD", "it is above 10000000000000.00, the most a single amount may be"),
        ("1e999", "USD", "it is above 10000000000000.00, the most a single amount may be"),
        ("Infinity", "USD", "it is above 10000000000000.00, the most a single amount may be"),
        ("NaN", "USD", "it is not a valid amount"),
        ("sNaN", "USD", "it is not a valid amount"),
        ("1e999999", "USD", "it is not a valid amount"),
        ("1e-1000000", "USD", "it is not a valid amount"),
    ],
)
def test_an_amount_too_fine_negative_or_too_large_is_refused(amount: str, currency: str, why: str) -> None:
    """The limits are exact: one minor unit more, or one decimal more, is too much."""
    with pytest.raises(AmountInvalid) as refused:
        minor_units(Decimal(amount), currency=currency)

    assert why == refused.value.why


def test_an_amount_in_an_unknown_currency_is_refused() -> None:
    """Without its decimals nobody knows what an amount is worth."""
    with pytest.raises(CurrencyUnknown):
        minor_units(Decimal(1), currency="XXX")


@pytest.mark.parametrize(
    ("amount_minor", "currency", "text"),
    [
        (20_400, "USD", "204.00"),
        (0, "USD", "0.00"),
        (1, "USD", "0.01"),
        (10, "USD", "0.10"),
        (-1, "USD", "-0.01"),
        (-20_400, "USD", "-204.00"),
        (0, "JPY", "0"),
        (7, "JPY", "7"),
        (-7, "JPY", "-7"),
        (1, "KWD", "0.001"),
        (12_345, "KWD", "12.345"),
        (1, "CLF", "0.0001"),
        (BALANCE_MINOR_MAX, "USD", "90071992547409.91"),
        (-(10**30), "USD", "-10000000000000000000000000000.00"),
    ],
)
def test_minor_units_are_written_with_all_their_decimals(amount_minor: int, currency: str, text: str) -> None:
    """As many as the currency has, with a digit before the point, and a sign only below zero."""
    assert text == decimal_text(amount_minor, currency=currency)


@given(amount_minor=AMOUNTS_MINOR, currency=CURRENCIES)
@example(amount_minor=AMOUNT_MINOR_MAX, currency="USD")
@example(amount_minor=0, currency="CLF")
def test_what_is_written_reads_back_as_the_same(amount_minor: int, currency: str) -> None:
    """Out and in again is the same number of minor units, for every currency, as text and as a JSON number."""
    text = decimal_text(amount_minor, currency=currency)

    assert amount_minor == minor_units(amount_from_text(text), currency=currency)
    assert amount_minor == minor_units(amount_from_json_number(text), currency=currency)


@given(amount_minor=st.integers(), currency=CURRENCIES)
def test_writing_loses_nothing(amount_minor: int, currency: str) -> None:
    """Also for sums beyond any limit and below zero: the text is the number of minor units over its power of ten."""
    text = decimal_text(amount_minor, currency=currency)

    assert Fraction(amount_minor, 10 ** CURRENCY_DECIMALS[currency]) == Fraction(text)
    assert CURRENCY_DECIMALS[currency] == len(text.partition(".")[2])


@given(
    whole=st.integers(0, 10**20).map(str),
    decimals=st.text("0123456789", max_size=40),
    exponent=st.integers(-40, 40),
    currency=CURRENCIES,
)
def test_an_amount_is_taken_exactly_or_not_at_all(whole: str, decimals: str, exponent: int, currency: str) -> None:
    """An accepted amount equals the number that was written. Only a number without minor units is refused."""
    text = f"{whole}.{decimals or '0'}e{exponent}"
    exact_minor = Fraction(text) * 10 ** CURRENCY_DECIMALS[currency]
    acceptable = exact_minor.denominator == 1 and exact_minor <= AMOUNT_MINOR_MAX

    try:
        amount_minor = minor_units(amount_from_json_number(text), currency=currency)
    except AmountInvalid:
        assert not acceptable
    else:
        assert acceptable
        assert exact_minor == amount_minor


# --- limits and fee --------------------------------------------------------------------------------------------------


def test_every_figure_of_an_account_is_exact_in_javascript() -> None:
    """An account holds at most the largest integer that a double can count to, and an amount is far below."""
    assert BALANCE_MINOR_MAX == 2**53 - 1
    assert AMOUNT_MINOR_MAX == 10**15 < BALANCE_MINOR_MAX


@pytest.mark.parametrize(
    ("amount_minor", "rate_ppm", "expected_minor"),
    [
        (20_000, 20_000, 400),
        (5_000, 20_000, 100),
        (1, 20_000, 0),
        (24, 20_000, 0),  # 0.48
        (25, 20_000, 1),  # 0.50, up
        (74, 20_000, 1),  # 1.48
        (75, 20_000, 2),  # 1.50, up, which is also even
        (125, 20_000, 3),  # 2.50, up, where half-even would give 2
        (1, 500_000, 1),  # half of the smallest amount, up
        (1, 499_999, 0),
        (0, 1_000_000, 0),
        (123, 0, 0),
        (123, 1_000_000, 123),
        (10**15, 1_000_000, 10**15),
        (10**15, 1, 10**9),
        (499_999, 1, 0),
        (500_000, 1, 1),
        (10**15 - 1, 500_001, 500_000_999_999_999),  # ….499999, which a float takes for a half
        (333, 17_500, 6),  # 1.75 percent of 3.33 is 5.8275 cents
    ],
)
def test_the_fee_is_rounded_half_up(amount_minor: int, rate_ppm: int, expected_minor: int) -> None:
    """2 % of 200.00 is 4.00; exactly half a minor unit is rounded up."""
    assert expected_minor == fee_minor(amount_minor, rate_ppm=rate_ppm)


@given(amount_minor=AMOUNTS_MINOR, rate_ppm=RATES_PPM)
@example(amount_minor=AMOUNT_MINOR_MAX, rate_ppm=FEE_RATE_PPM_MAX)
@example(amount_minor=1, rate_ppm=500_000)
def test_the_fee_is_the_exact_share_rounded_and_never_more_than_the_amount(amount_minor: int, rate_ppm: int) -> None:
    """Between nothing and the whole amount, and within half a minor unit of the exact fraction, halves up."""
    exact_minor = Fraction(amount_minor) * Fraction(rate_ppm, 1_000_000)

    fee = fee_minor(amount_minor, rate_ppm=rate_ppm)

    assert 0 <= fee <= amount_minor
    assert Fraction(-1, 2) < fee - exact_minor <= Fraction(1, 2)


@given(amount_minor=st.integers(0, AMOUNT_MINOR_MAX - 1), rate_ppm=st.integers(0, FEE_RATE_PPM_MAX - 1))
def test_a_larger_amount_or_rate_never_costs_less(amount_minor: int, rate_ppm: int) -> None:
    """Nobody saves by paying more."""
    fee = fee_minor(amount_minor, rate_ppm=rate_ppm)

    assert fee <= fee_minor(amount_minor + 1, rate_ppm=rate_ppm)
    assert fee <= fee_minor(amount_minor, rate_ppm=rate_ppm + 1)
