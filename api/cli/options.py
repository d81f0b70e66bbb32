"""Options that several commands share."""

import re
from datetime import datetime

import click

from api.errors import RequestInvalid
from api.http.times import parse_timestamp
from api.operator.decision_text import TAKES, is_decision_text
from ledger.audit.verify import ExpectedHead
from ledger.recovery.recover import NUMBERS_A_SECOND_MAX, SKIP_MAX, SKIP_MIN

KEYS_ARE_OLD = "Keys that were revoked since then are live again: look at `payment-ledger keys list`."
"""A reminder for operators of a store that is older than the world."""


def _expected(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> list[ExpectedHead]:
    heads = []
    for value in values:
        found = re.fullmatch(r"([0-9]{1,18}):([0-9a-fA-F]{64})", value, re.ASCII)
        if found is None:
            raise click.BadParameter("must be POSITION:DIGEST, as `audit verify` prints them")
        heads.append(ExpectedHead(int(found[1]), found[2]))
    return heads


def decision_text(_: click.Context, __: click.Parameter, value: str) -> str:
    """Take a text that is recorded with a decision."""
    if not is_decision_text(value):
        raise click.BadParameter(f"must have {TAKES}")
    return value


def time_option_value(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """Take a moment, RFC 3339 with an offset."""
    try:
        return parse_timestamp(value, path="at")
    except RequestInvalid:
        raise click.BadParameter("has to be a time such as 2026-11-23T09:30:00Z, with Z or an offset") from None


expect_option = click.option(
    "--expect",
    "expected",
    metavar="POSITION:DIGEST",
    multiple=True,
    callback=_expected,
    help="A head that was noted elsewhere. May be given several times.",
)

skip_option = click.option(
    "--skip",
    type=click.IntRange(0, SKIP_MAX),
    metavar="N",
    help="How many numbers of accounts, and of payments, to leave out. By default:"
    f" {NUMBERS_A_SECOND_MAX:,} for each second since the last event, and {SKIP_MIN:,} more.",
)
