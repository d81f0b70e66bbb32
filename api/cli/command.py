"""Shared by every command: exit codes, the `--json` option, the settings, and how a command fails.

This module is loaded by health checks every few seconds, so it imports only what all commands need.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NoReturn

import click

from api.runtime.masking import mask
from api.settings import Reading, Settings, find_dotenv

EXIT_UNHEALTHY: Final = 1
EXIT_USAGE: Final = 2

PARTITION_MAX: Final = 1023
"""The highest number that a partition can have. It is one less than the slots, which this module cannot import."""

until_eof_option = click.option(
    "--until-eof", is_flag=True, help="Stop when standard input ends, as it does when `serve` is killed."
)

as_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")

served_option = click.option(
    "--partition",
    "served",
    type=click.IntRange(0, PARTITION_MAX),
    multiple=True,
    metavar="N",
    help="A partition that it serves. May be given several times. Default: all.",
)

partition_option = click.option(
    "--partition",
    "number",
    type=click.IntRange(0, PARTITION_MAX),
    metavar="N",
    help="The partition that is meant; needed where the ledger has several.",
)

every_partition_option = click.option(
    "--partition",
    "number",
    type=click.IntRange(0, PARTITION_MAX),
    metavar="N",
    help="Only this partition. Default: all.",
)


def read_settings(command: str, *, warn: bool = True) -> Reading:
    """Read the settings for a command, and write the warnings about them to standard error."""
    reading = Settings.read(os.environ, dotenv=find_dotenv(Path.cwd()), command=command)
    if warn:
        for warning in reading.warnings:
            click.echo(f"Warning: {warning}", err=True)
    return reading


def settings_for(command: str, *, warn: bool = True) -> Settings:
    """Read the settings for a command. Raises SettingsError."""
    return Settings.of(read_settings(command, warn=warn))


def fail(sentence: str, code: int) -> NoReturn:
    """End the program with a sentence, in which passwords are masked, and an exit code."""
    click.echo(mask(sentence), err=True)
    sys.exit(code)


def check_partitions(numbers: Iterable[int], count: int) -> None:
    """End the program when a partition is named that a ledger with `count` of them does not have."""
    for number in numbers:
        if number >= count:
            words = "one partition, 0" if count == 1 else f"{count} partitions, 0 to {count - 1}"
            fail(f"There is no partition {number}: the ledger has {words}.", EXIT_USAGE)
