"""`payment-ledger settings`: each value, and where it comes from."""

from decimal import Decimal
from pathlib import Path

import click
from msgspec import Struct

from api.cli.command import as_json_option, read_settings
from api.cli.output import print_json
from api.cli.tables import escape, table, table_console
from api.runtime.masking import mask
from api.settings import Reading, Settings
from api.settings.declaration import MASK, Setting, rows_of
from api.settings.loading import Place

Value = str | int | float | bool | Decimal | None


class SettingView(Struct, frozen=True, kw_only=True):
    """A setting as it is shown; null is unset.

    `old_name` is the old name under which the value was given. `under_serve` is the default of `serve`, where that one
    is another and counts.
    """

    name: str
    value: Value
    unit: str
    source: Place
    old_name: str | None
    under_serve: Value


class SettingsView(Struct, frozen=True, kw_only=True):
    """All settings, the `.env` that was read, and warnings about names that have no effect."""

    dotenv: str | None
    settings: list[SettingView]
    warnings: list[str]


@click.command("settings")
@as_json_option
def settings_command(*, as_json: bool) -> None:
    """Show each setting, and where its value comes from. Secrets are masked."""
    seen = settings_view(read_settings("settings", warn=not as_json))
    if as_json:
        print_json(seen)
    else:
        _print(seen)


def settings_view(reading: Reading) -> SettingsView:
    """Show the settings as read. Raises SettingsError."""
    settings = Settings.of(reading)
    shown = [_setting_view(row, getattr(settings, field), reading) for field, row in rows_of(Settings).items()]
    dotenv = None if reading.dotenv is None else str(reading.dotenv)
    return SettingsView(dotenv=dotenv, settings=shown, warnings=list(reading.warnings))


def _setting_view(row: Setting, value: object, reading: Reading) -> SettingView:
    source = reading.sources[row.name]
    under_serve = None
    if source.place == "default" and row.serve_default is not None:
        under_serve = row.parser(row.serve_default)
    return SettingView(
        name=row.name,
        value=masked(value) if row.secret else _plain(value, row),
        unit=row.unit,
        source=source.place,
        old_name=source.old_name,
        under_serve=under_serve,
    )


def masked(value: object) -> Value:
    """Mask a secret: show URLs without their passwords, and of anything else only that it is set."""
    if value is None:
        return None
    text = " ".join(value) if isinstance(value, tuple) else str(value)
    return mask(text) if "://" in text else MASK


def _plain(value: object, row: Setting) -> Value:
    """Give a value as JSON and a table have it, and a list as `.env` would."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, tuple | frozenset):
        named = value if isinstance(value, tuple) else sorted(value)
        written = ",".join(f"{each:.15g}" if isinstance(each, float) else str(each) for each in named)
        return written or row.parser.empty
    assert value is None or isinstance(value, str | int | float | Decimal), value
    return value


def _print(seen: SettingsView) -> None:
    console = table_console()
    shown = table("name", "value", "unit", "from")
    for each in seen.settings:
        origin = each.source if each.old_name is None else f"{each.source}, as {each.old_name}"
        if each.under_serve is not None:
            origin += f"; {_text(each.under_serve)} under serve"
        value = "[dim]unset[/]" if each.value is None else escape(_text(each.value))
        shown.add_row(each.name, value, each.unit, origin)
    console.print(shown)
    if seen.dotenv is not None:
        console.print(f".env is {escape(seen.dotenv)}", soft_wrap=True, highlight=False)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else str(value)
