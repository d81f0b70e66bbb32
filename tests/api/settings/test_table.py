"""The table of settings: rows and fields belong together, and what a row says can be relied on."""

import re
import typing
from collections import Counter
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.settings import Settings, SettingsError
from api.settings.declaration import Setting, rows_of
from api.settings.libpq import can_read
from api.settings.limits import TableWithLimits as Table
from api.settings.other_names import COMPOSE_NAMES, NAMES_WITHOUT_EFFECT, OLD_NAMES
from api.settings.parsers import _PLAIN_DATABASE_URL

ROWS = rows_of(Settings)
ALL_ROWS = (*ROWS.values(), *COMPOSE_NAMES)
TYPES = typing.get_type_hints(Table)

WRITTEN = (
    "false",
    "true",
    "4",
    "7",
    "45",
    "1001",
    "0.5",
    "/srv",
    "EUR",
    "error",
    "chaos",
    "required",
    "postgresql://db",
    "https://pay",
    "redis://cache",
)
"""Texts of which each setting takes one, and one that is not its default."""


def beside(row: Setting) -> dict[str, str]:
    """Settings without which no value of a row but the default can be."""
    others = {
        "DEMO_GATEWAY_KIND": {"DEMO_GATEWAY_SEED": "1"},
        "LEDGER_PARTITION_URLS": {"DATABASE_URL": "postgresql://db"},
        "GATEWAY_KEY_FILE": {"GATEWAY_CERT_FILE": "c.pem"},
        "LEDGER_ADMIN_URL": {"DATABASE_URL": "postgresql://db"},
        "SSL_CERTIFICATE": {"SSL_CERTIFICATE": "c.pem", "SSL_KEY": "k.pem"},
        "SSL_KEY": {"SSL_CERTIFICATE": "c.pem", "SSL_KEY": "k.pem"},
    }
    return others.get(row.name, {})


def another_value(field: str) -> Settings:
    """Settings in which a field was given a value that is not its default."""
    row = ROWS[field]
    for text in WRITTEN:
        with suppress(SettingsError):
            settings = Settings.load(beside(row) | {row.name: text})
            if getattr(settings, field) != getattr(Settings.load({}), field):
                return settings
    raise AssertionError(f"{row.name} takes none of {WRITTEN}")


def test_every_field_is_a_row_and_every_row_a_field() -> None:
    """A field without a row could not be set, and a row without a field would have no effect."""
    assert ROWS.keys() == {field.name for field in fields(Table)} == TYPES.keys()
    assert all(isinstance(row, Setting) for row in ROWS.values())
    assert {row.name for row in ROWS.values()} == Settings.read({}).sources.keys()


@pytest.mark.parametrize("field", ROWS)
def test_a_name_sets_its_own_field_and_no_other(field: str) -> None:
    """No two rows have been mixed up."""
    before, after = Settings.load(beside(ROWS[field])), another_value(field)

    assert [each for each in ROWS if getattr(before, each) != getattr(after, each)] == [field]


@pytest.mark.parametrize("field", ROWS)
def test_a_value_has_the_type_that_its_field_declares(field: str) -> None:
    """By default, and when it is set."""
    for settings in (Settings.load({}), another_value(field)):
        assert is_of(getattr(settings, field), TYPES[field])


def is_of(value: Any, declared: Any) -> bool:
    """Tell whether a value is of a declared type."""
    if typing.get_origin(declared) is Literal:
        return value in typing.get_args(declared)
    if (collection := typing.get_origin(declared)) in {tuple, frozenset}:
        return isinstance(value, collection) and all(type(each) is typing.get_args(declared)[0] for each in value)
    options = [typing.get_origin(option) or option for option in typing.get_args(declared) or (declared,)]
    return type(value) in options or (isinstance(value, Path) and Path in options)


def test_no_name_stands_twice() -> None:
    """Neither among the settings nor among the old names and those of compose."""
    names = [row.name for row in ALL_ROWS] + [old.name for old in OLD_NAMES] + list(NAMES_WITHOUT_EFFECT)

    assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: row.name)
def test_a_row_says_what_the_setting_means(row: Setting) -> None:
    """In whole sentences that can stand in a cell of a table; a number that counts something says what."""
    assert re.fullmatch(r"[A-Za-z0-9`][^|\n]*\.", row.doc)
    assert "|" not in row.parser.takes + (row.default or "")
    assert row.name == row.name.upper().strip()
    assert row.name.endswith("_SECONDS") == (row.unit == "seconds")


@pytest.mark.parametrize("row", ALL_ROWS, ids=lambda row: row.name)
def test_a_default_is_a_value_that_the_row_takes(row: Setting) -> None:
    """People may write the default out."""
    for default in (row.default, row.serve_default):
        if default is not None:
            row.parser(default)


def test_an_old_name_stands_for_settings_that_there_are() -> None:
    """With values that those take."""
    rows = {row.name: row for row in ROWS.values()}

    for old in OLD_NAMES:
        assert old.becomes.keys() <= rows.keys()
        for name, text in old.becomes.items():
            if text is not None:
                rows[name].parser(text)


def test_a_url_may_hold_a_password_and_is_a_secret() -> None:
    """So neither the repr of the settings nor `payment-ledger settings` shows it. `SSL_KEY` is the path of a file."""
    named = {row.name for row in ALL_ROWS if re.search("URL|PASSWORD|SECRET|(?<!SSL_)KEY(?!_FILE)", row.name)}

    assert named == {row.name for row in ALL_ROWS if row.secret}
    assert not any(row.parser.repeats for row in ROWS.values() if row.secret)


@given(st.from_regex(_PLAIN_DATABASE_URL, fullmatch=True))
def test_libpq_reads_every_url_that_it_is_not_asked_about(url: str) -> None:
    """The plain ones, which a health check takes without loading libpq."""
    assert can_read(url)
