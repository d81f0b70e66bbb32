"""The lines that the docs show to an analyst, run unchanged on a busy ledger."""

import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Final

from psycopg.conninfo import conninfo_to_dict

from ledger.domain.commands import OpenAccount, RequestDeposit
from ledger.store.database import Database
from ledger.writer.writer import Writer
from tests.support.databases import fresh_ledger, traces

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/guides/read-with-eventsourcing.md"
LOGIN: Final = '{"dbname": "ledger", "host": "localhost", "port": 5432, "user": "analyst", "password": "secret"}'


def lines_for(database: Database) -> str:
    """The page's program, with this database's login and schema in place of the example's."""
    found = re.search(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found is not None
    program = found[1]
    given = conninfo_to_dict(database.url)
    login = {name: given.get(name, "") for name in ("dbname", "host", "user", "password")} | {
        "port": given.get("port", 5432)
    }
    assert program.count(LOGIN) == program.count('schema="ledger"') == 1
    return program.replace(LOGIN, repr(login)).replace('schema="ledger"', f"schema={database.schema!r}")


def test_the_ten_lines_read_a_store(postgres_url: str) -> None:
    """They read each event with its position, and the events of one account, and they write nothing."""
    with fresh_ledger(postgres_url) as database:
        writer = Writer(database)
        writer.start()
        writer.submit(OpenAccount(command_id="a", opening=Decimal(10), currency="USD")).result(10)
        writer.submit(RequestDeposit(command_id="b", account_id=1, amount=Decimal(5), fee_rate_ppm=0)).result(10)
        writer.stop()
        before, program = traces(database), lines_for(database)

        done = subprocess.run(
            [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False, timeout=60
        )

        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines() == [
            '1 account-1 account.opened {"currency": "USD", "opening_minor": 1000}',
            f"2 payment-1 payment.requested {done.stdout.splitlines()[1].split(maxsplit=3)[3]}",
            "1 events of account 1",
        ]
        assert '"amount_minor": 500' in done.stdout
        assert traces(database) == before
    assert len([line for line in program.splitlines() if line.strip()]) <= 10
