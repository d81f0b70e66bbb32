"""Commands as real processes, the ledger's owner, and a payment that has failed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from decimal import Decimal
from pathlib import Path
from typing import LiteralString
from urllib.parse import urlencode

from psycopg.conninfo import conninfo_to_dict

from ledger.domain.commands import Fail, OpenAccount, RecordGatewayOutcome, RequestDeposit
from ledger.partition.partition import Partitions
from ledger.store.database import Database
from ledger.writer.writer import Writer
from projections.engine.projector import Projector
from tests.support.services import CHECKOUT
from tests.support.waiting import wait_until


class Shell:
    """A directory and an environment in which commands are run."""

    def __init__(self, directory: Path, **environment: str) -> None:
        self.directory = directory
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PATH", "HOME", "COV"))}
        self.environment = kept | {"PYTHONPATH": str(CHECKOUT), "COLUMNS": "200"} | environment

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "api.cli", *words],
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def running(self, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """Run a command beside the test; what it wrote is in `log`."""
        with self.log.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", *words],
                cwd=self.directory,
                env=self.environment | environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
            )
        with process:
            try:
                yield process
            finally:
                process.kill()

    @property
    def log(self) -> Path:
        """The output of running commands."""
        return self.directory / "log"


def shell_of(directory: Path, partitions: Partitions) -> Shell:
    """Give a shell whose settings name a ledger with several partitions, and allow the demo gateway there."""
    return Shell(
        directory,
        DATABASE_URL=partitions.first.database.url,
        LEDGER_SCHEMA=partitions.first.schema.removesuffix("_0"),
        LEDGER_PARTITIONS=str(len(partitions)),
        DEMO_GATEWAY="true",
        DEMO_GATEWAY_PORT="9",
    )


def declined_deposit(writer: Writer) -> int:
    """Make a payment that has failed at the gateway; the first of the ledger is payment 1."""
    account = writer.submit(OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")).result()
    payment = writer.submit(
        RequestDeposit(command_id="ask", account_id=account.account_id, amount=Decimal(200), fee_rate_ppm=20_000)
    ).result()
    writer.submit(
        RecordGatewayOutcome(
            command_id="answer",
            payment_id=payment.payment_id,
            account_id=account.account_id,
            seen_version=1,
            series=1,
            gateway_key=f"payment-{payment.payment_id}",
            attempt=1,
            outcome="declined",
            error="declined",
            then=Fail(),
        )
    ).result()
    return payment.payment_id


def project(database: Database) -> None:
    """Bring the read models up to the log's end."""
    projector = Projector(database)
    thread = threading.Thread(target=projector.run)
    thread.start()
    with closing(database.connect(application="payment-ledger tests")) as connection:
        behind = (
            "SELECT count(*) FROM projection_tracking, log_head WHERE projection_tracking.position < log_head.position"
        )
        wait_until(lambda: connection.execute(behind).fetchone() == (0,))
    projector.stop()
    thread.join()


def as_owner(database: Database, statement: LiteralString) -> None:
    """Do what the service may not do."""
    with closing(database.connect(application="payment-ledger tests", owner=True)) as connection:
        connection.execute(statement)


def as_url(conninfo: str) -> str:
    """Spell a connection string as the URL that the settings want."""
    return f"postgresql://?{urlencode(conninfo_to_dict(conninfo))}"
