"""The reference page of the command line: every command with its options, from click's own description of them."""

from collections.abc import Iterator
from typing import Final

import click

from api.cli.main import main
from tests.support.reference.markdown import cell, code, page, table

INTRODUCTION: Final = """\
`payment-ledger` runs the service and is the operator's tool. In a checkout it is `.venv/bin/payment-ledger`; in the
container image it is the entry point.

A command reads its settings from the environment and from `.env` ([settings](settings.md)). Without a `DATABASE_URL`
it uses the embedded Postgres of `LEDGER_DATA_DIR`, and starts it for as long as it needs it; only `serve` and `migrate`
make a data directory.

| exit code | meaning |
| --- | --- |
| 0 | all is well |
| 1 | something is wrong: an unhealthy service, a failed proof, a refused decision, a database that cannot be reached |
| 2 | the command or its settings are wrong; nothing was done |

`--json` prints JSON on one line for programs; without it, commands print tables for people."""

NAME: Final = "payment-ledger"


def commands_page() -> str:
    """Write the page."""
    context = click.Context(main, info_name=NAME)
    return page("Commands", INTRODUCTION, [_section(each) for each in commands(context)])


def commands(context: click.Context) -> Iterator[click.Context]:
    """Give a context for each command below a group, groups too, in the order of their names."""
    group = context.command
    assert isinstance(group, click.Group), group
    for name in sorted(group.list_commands(context)):
        command = group.get_command(context, name)
        assert command is not None, name
        below = click.Context(command, info_name=name, parent=context)
        yield below
        if isinstance(command, click.Group):
            yield from commands(below)


def _section(context: click.Context) -> str:
    command = context.command
    pieces = [f"## {context.command_path}", _help(command)]
    if not isinstance(command, click.Group):
        usage = command.collect_usage_pieces(context)
        pieces.append(f"```\n{' '.join([context.command_path, *usage])}\n```")
    if rows := [row for parameter in command.params if (row := _option(parameter, context)) is not None]:
        pieces.append(table(["option", "meaning"], rows))
    return "\n\n".join(pieces)


def _help(command: click.Command) -> str:
    return "\n\n".join(cell(paragraph) for paragraph in (command.help or "").split("\n\n"))


def _option(parameter: click.Parameter, context: click.Context) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or not isinstance(parameter, click.Option):
        return None
    return code(record[0]), record[1]
