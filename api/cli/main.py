"""The command line, `payment-ledger`: runs the service and its parts, and is the operator's tool.

Tables for people, `--json` for machines. The exit code is 0 only when all is well: 1 says that it is not, 2 that the
command or its settings are wrong and nothing was done. Each command is loaded when it is called.
"""

import signal
from typing import Any, Final

import click

from api.cli.command import EXIT_USAGE, fail
from api.cli.lazy_group import Entry, LazyGroup
from api.cli.surroundings import PythonOptimises, refuse_optimised_python, repair_streams
from ledger.version import VERSION

_SERVICE: Final = "api.cli.commands.service"

COMMANDS: Final = (
    Entry(
        "serve",
        f"{_SERVICE}:serve_command",
        "Serve everything: API, worker, projector, demo gateway, and Postgres where there is none.",
        stops_cleanly=True,
    ),
    Entry("api", f"{_SERVICE}:api_command", "Serve the HTTP API alone."),
    Entry("worker", f"{_SERVICE}:worker_command", "Drive payments through the gateway, alone."),
    Entry("projector", f"{_SERVICE}:projector_command", "Keep the read models up to date, alone."),
    Entry(
        "gateway",
        "api.cli.commands.gateway:gateway_group",
        "Serve the demo gateway alone; or pause and resume the calls of the gateway, whichever it is.",
    ),
    Entry("migrate", f"{_SERVICE}:migrate_command", "Bring the database's schema up to date, once."),
    Entry(
        "roles",
        "api.cli.commands.roles:roles_command",
        "Print the SQL that gives the service a login of its own, and makes an auditor who only reads.",
    ),
    Entry(
        "ready",
        "api.cli.commands.ready:ready_command",
        "Tell whether a part that runs on this machine is ready; for health checks.",
    ),
    Entry("status", "api.cli.commands.status:status_command", "Show how the whole service is."),
    Entry(
        "doctor",
        "api.cli.commands.doctor:doctor_command",
        "Check every rule of the service's health, and show the remedy for each that is broken.",
    ),
    Entry(
        "settings", "api.cli.commands.settings:settings_command", "Show each setting, and where its value comes from."
    ),
    Entry("dlq", "api.cli.letters.group:dlq_group", "Look at dead letters, and decide about them."),
    Entry("keys", "api.cli.commands.keys:keys_group", "Make, list, rotate and revoke the keys of callers."),
    Entry("audit", "api.cli.audits.group:audit_group", "Prove that the books are right, and keep the log elsewhere."),
    Entry(
        "backup",
        "api.cli.commands.backups:backup_command",
        "Take a base back-up of the database into DIR, which is empty or not there, and check it.",
    ),
    Entry(
        "restore",
        "api.cli.commands.backups:restore_command",
        "Restore a back-up from DIR into LEDGER_DATA_DIR, which has no ledger yet; recover it, and audit it.",
    ),
    Entry(
        "recover",
        "api.cli.commands.recover:recover_command",
        "Count every open call as begun, and give no number that may have been given before.",
    ),
    Entry("rebuild", "api.cli.commands.rebuild:rebuild_command", "Make the read models again from the log."),
    Entry("bench", "api.cli.commands.bench:bench_command", "Measure how fast the ledger is on this machine."),
)
"""All commands, in the order of `payment-ledger --help`."""


class _Main(LazyGroup):
    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as click has it
        repair_streams()
        try:
            refuse_optimised_python()
        except PythonOptimises as refused:
            fail(str(refused), EXIT_USAGE)
        return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - as click has it
        # A stop from outside tidies up as a Ctrl-C does; the parts have handlers of their own.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        return super().invoke(ctx)


@click.group(cls=_Main, entries=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="payment-ledger")
def main() -> None:
    """Run the payment ledger and look after it.

    Settings come from the environment and from .env. Without DATABASE_URL, a Postgres of our own serves.
    """
