"""`payment-ledger keys ...`: the keys of callers. They work on the database itself, so they need no running API."""

from datetime import UTC, datetime, timedelta
from typing import cast

import click

from api.auth.key_store import create_key, list_keys, revoke_key, rotate_key
from api.auth.keys import (
    DAYS_MAX,
    KEEP_SECONDS_DEFAULT,
    KEEP_SECONDS_MAX,
    NAME_CHARACTERS_MAX,
    SCOPES,
    Key,
    KeyWithSecret,
    Scope,
    is_key_id,
)
from api.cli.command import as_json_option
from api.cli.integers import IDENTIFIER
from api.cli.ledger_access import ledger_for
from api.cli.options import decision_text
from api.cli.output import print_json
from api.cli.tables import escape, second, table, table_console
from api.views.keys import key_view, new_key_view


@click.group("keys")
def keys_group() -> None:
    """Make, list, rotate and revoke the keys of callers."""


def _name(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if len(value) > NAME_CHARACTERS_MAX:
        raise click.BadParameter(f"must have at most {NAME_CHARACTERS_MAX} characters")
    return decision_text(context, parameter, value)


def _id(_: click.Context, __: click.Parameter, value: str) -> str:
    if not is_key_id(value):
        raise click.BadParameter("must be the id of a key, as `keys list` shows it: 16 digits and letters from a to f")
    return value


_key_id = click.argument("key_id", callback=_id)


@keys_group.command("create")
@click.argument("name", callback=_name)
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, required=True, help="May be given several times."
)
@click.option(
    "--user",
    "users",
    type=IDENTIFIER,
    multiple=True,
    help="Binds the key to this user. May be given several times. By default the key is for all users.",
)
@click.option("--days", type=click.IntRange(1, DAYS_MAX), help="For how many days the key lives; by default for ever.")
@as_json_option
def create_command(
    *, name: str, scopes: tuple[str, ...], users: tuple[int, ...], days: int | None, as_json: bool
) -> None:
    """Make a key, and show it once."""
    with ledger_for("keys") as (_, partitions):
        made = create_key(
            partitions.first.database,
            name=name,
            scopes=cast("tuple[Scope, ...]", scopes),
            users=users or None,
            lifetime=None if days is None else timedelta(days=days),
        )
    _print_made(made, as_json=as_json)


@keys_group.command("list")
@as_json_option
def list_command(*, as_json: bool) -> None:
    """List the keys without their secrets, newest first."""
    with ledger_for("keys") as (_, partitions):
        keys = list_keys(partitions.first.database)
    if as_json:
        print_json([key_view(key) for key in keys])
    elif keys:
        shown = table("key", "name", "scopes", "users", "state", "created", "expires", "last used")
        for key in keys:
            shown.add_row(*(escape(cell) for cell in _cells(key)))
        table_console().print(shown)
    else:
        table_console().print("No keys.")


@keys_group.command("rotate")
@_key_id
@click.option(
    "--keep",
    type=click.IntRange(0, KEEP_SECONDS_MAX),
    default=KEEP_SECONDS_DEFAULT,
    show_default=True,
    help="For how many seconds the former secret is taken too.",
)
@as_json_option
def rotate_command(key_id: str, *, keep: int, as_json: bool) -> None:
    """Give a key a new secret, and show it once."""
    with ledger_for("keys") as (_, partitions):
        made = rotate_key(partitions.first.database, key_id, keep=timedelta(seconds=keep))
    _print_made(made, as_json=as_json)


@keys_group.command("revoke")
@_key_id
@as_json_option
def revoke_command(key_id: str, *, as_json: bool) -> None:
    """End a key for good; every process takes it no more after 5 seconds."""
    with ledger_for("keys") as (_, partitions):
        key = revoke_key(partitions.first.database, key_id)
    if as_json:
        print_json(key_view(key))
    else:
        click.echo(f"Key {key.key_id} is revoked.")


def _print_made(made: KeyWithSecret, *, as_json: bool) -> None:
    if as_json:
        print_json(new_key_view(made))
    else:
        click.echo(made.text)
        click.echo("This is shown once: the ledger keeps only a digest of it.", err=True)


def _cells(key: Key) -> list[str]:
    users = "all" if key.users is None else ", ".join(map(str, key.users))
    times = [second(at) if at else "-" for at in (key.created_at, key.expires_at, key.last_used_at)]
    return [key.key_id, key.name, ", ".join(key.scopes), users, _state(key, datetime.now(UTC)), *times]


def _state(key: Key, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    return "two secrets" if key.former_until is not None and key.former_until > now else "live"
