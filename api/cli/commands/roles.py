"""`payment-ledger roles`: the SQL for logins that may do no more than they need."""

import click

from api.cli.command import as_json_option
from api.cli.ledger_access import ledger_for
from api.cli.output import print_json
from api.operator.roles import roles_sql
from api.runtime.database import place
from ledger.partition.partition import Partition


@click.command("roles")
@as_json_option
def roles_command(*, as_json: bool) -> None:
    """Print the SQL that gives the service a login of its own, and makes an auditor who only reads.

    Nothing is changed. The owner of the schema, or a superuser, runs it in psql after `migrate`. Of several partitions,
    each has its own, which is run in the database that stands above it.
    """
    with ledger_for("roles") as (_, partitions):
        statements = "\n".join(_sql_of(partition, len(partitions)) for partition in partitions)
    if as_json:
        print_json({"sql": statements})
    else:
        click.echo(statements)


def _sql_of(partition: Partition, count: int) -> str:
    """Return the SQL of a partition, with the database that it is for where there are several."""
    statements = roles_sql(partition.database)
    if count == 1:
        return statements
    return f"-- partition {partition.number}, in {place(partition.database)}\n{statements}"
