"""A rare change of an operator is not acknowledged while only the primary may have it."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest

from api.auth.key_store import create_key, revoke_key
from api.runtime.embedded_postgres.server import EmbeddedPostgres
from ledger.errors import OutcomeUnknown
from ledger.operation.gateway import change_gateway
from ledger.recovery.recover import recover, recover_if_behind
from ledger.store.database import Database
from tests.support.databases import execute, fresh_ledger
from tests.support.servers.standbys import cancel_the_wait, without_its_standby


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Yield an empty ledger on a server of its own."""
    with EmbeddedPostgres(tmp_path, create=True) as url, fresh_ledger(url) as database:
        yield database


def pause(database: Database) -> None:
    change_gateway(database, "paused", why="it pays twice", by="Ada")


def revoke(database: Database) -> None:
    ((key_id,),) = execute(database, "SELECT id FROM api_key")
    revoke_key(database, str(key_id), by="Ada")


CHANGES: Final[dict[str, tuple[Callable[[Database], object], str]]] = {
    "payment-ledger operate": (pause, "SELECT paused_at IS NOT NULL FROM gateway_state"),
    "payment-ledger keys": (revoke, "SELECT revoked_at IS NOT NULL FROM api_key"),
    "payment-ledger recover": (
        lambda database: recover(database, why="a fail-over"),
        "SELECT count(*) > 0 FROM events WHERE topic = 'ledger.recovered'",
    ),
}


@pytest.mark.parametrize("application", CHANGES)
def test_a_change_whose_commit_is_in_doubt_is_not_acknowledged(database: Database, application: str) -> None:
    """After a fail-over a revoked key would be live, a paused gateway called. To do it again waits again."""
    change, is_done = CHANGES[application]
    create_key(database, name="shop", scopes=["read"])
    recover_if_behind(database)  # the store notes its server, as at the first start
    with without_its_standby(database) as owner, ThreadPoolExecutor(1) as executor:
        for _ in ("once", "again"):
            changing = executor.submit(change, database)
            cancel_the_wait(owner, "pg_cancel_backend", application=application)
            with pytest.raises(OutcomeUnknown):
                changing.result(30)

    assert execute(database, is_done) == [(True,)]
    change(database)
