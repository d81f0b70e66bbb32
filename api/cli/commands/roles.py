"""`payment-ledger roles`: the SQL for logins that may do no more than they need."""

import click

from api.cli.command import as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.operator.roles import roles_sql


@click.command("roles")
@as_json_option
def roles_command(*, as_json: bool) -> None:
    """Print the SQL that gives the service a login of its own, and makes an auditor who only reads.

    Nothing is changed. The owner of the schema, or a superuser, runs it in psql after `migrate`.
    """
    with ledger_for("roles") as (_, partitions):
        statements = roles_sql(partitions.only.database)
    if as_json:
        print_json({"sql": statements})
    else:
        click.echo(statements)
