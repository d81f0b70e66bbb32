"""How a command answers a machine."""

import click
import msgspec

_json = msgspec.json.Encoder(decimal_format="number")


def print_json(content: object) -> None:
    """Print a value as one line of JSON."""
    click.echo(_json.encode(content))
