"""The options that decisions share: why, by whom, the operator's key, and the key against repetition."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from api.auth.key_proof import proven_key
from api.cli.integers import IDENTIFIER
from api.cli.options import decision_text
from api.errors import IdempotencyKeyInvalid
from api.http.idempotency_keys import decision_key
from ledger.store.database import Database

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _key(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    try:
        return decision_key(value)
    except IdempotencyKeyInvalid:
        raise click.BadParameter(
            "must be 1 to 255 printable ASCII characters, and not begin with approval- or bulk-"
        ) from None


payment_id_argument = click.argument("payment_id", type=IDENTIFIER)

gateway_key_option = click.option("--gateway-key", help="The contradiction that is meant, when there are several.")

by_option = click.option("--by", required=True, callback=decision_text, help="Who decides.")

why_option = click.option("--why", required=True, callback=decision_text, help="Why; it is recorded with the payment.")

key_file_option = click.option(
    "--key-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="A file with your key, which proves who decides. Decisions that need two keys need it.",
)

_idempotency_key_option = click.option(
    "--idempotency-key",
    callback=_key,
    help="Makes it safe to give the command again: with the same key it is carried out once.",
)


def decision_options(command: FunctionT) -> FunctionT:
    """Add the options of every decision about one letter."""
    return why_option(by_option(key_file_option(_idempotency_key_option(command))))


async def signed(database: Database, *, by: str, key_file: Path | None) -> dict[str, str | None]:
    """Give the sender of a decision as it is recorded: the name alone, or the key with the name beside it.

    Raises Unauthenticated, ScopeMissing, KeyBoundElsewhere, DatabaseUnavailable, OSError.
    """
    if key_file is None:
        return {"by": by, "operator": None}
    text = await asyncio.to_thread(key_file.read_bytes)
    key = await proven_key(database, text.strip(), "operate")
    return {"by": key.by, "operator": by}
