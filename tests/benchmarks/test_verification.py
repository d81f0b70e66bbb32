"""A fast wrong answer fails: answers, store and the gateway's effects must agree to the cent."""

import json
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from ledger.store.database import Database
from tests.benchmarks.load.store_loader import Loaded, Store, load_store
from tests.benchmarks.measuring.verification import (
    VerificationFailed,
    ensure_effects,
    ensure_payments,
    successes,
    verify,
    wait_until_settled,
)
from tests.benchmarks.running import open_accounts

SMALL = Store(events=2_000, accounts=20)


@pytest.fixture
def loaded(database: Database) -> Loaded:
    return load_store(database, SMALL)


@pytest.fixture
def owner(database: Database) -> Iterator[Any]:
    with closing(database.connect(application="test", owner=True)) as connection:
        yield connection


@contextmanager
def gateway_that_says(**told: int) -> Iterator[str]:
    """Serve a gateway's book with these figures."""

    class Book(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with HTTPServer(("127.0.0.1", 0), Book) as server:
        serving = threading.Thread(target=server.serve_forever, daemon=True)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        serving.join()


def test_a_correct_store_passes(database: Database, loaded: Loaded, tmp_path: Path) -> None:
    """The real command verifies the whole store."""
    assert loaded.events == verify(tmp_path, database)


def test_a_changed_event_fails_the_run(database: Database, loaded: Loaded, owner: Any, tmp_path: Path) -> None:
    """A change of one byte of one event is enough."""
    owner.execute("UPDATE events SET state = state || ' ' WHERE notification_id = %s", [loaded.events // 2])

    with pytest.raises(VerificationFailed, match=f'"position":{loaded.events // 2}'):
        verify(tmp_path, database)


def test_a_lost_idempotency_key_fails_the_run(database: Database, loaded: Loaded, owner: Any, tmp_path: Path) -> None:
    """Everything that follows from the log is verified too."""
    del loaded
    owner.execute("DELETE FROM idempotency_keys WHERE key = 'loaded-7'")

    with pytest.raises(VerificationFailed, match="key"):
        verify(tmp_path, database)


def test_a_payment_that_was_answered_and_is_missing_fails_the_run(loaded: Loaded, owner: Any) -> None:
    """A stored payment that was never answered fails it too, unless the generator did not wait for the answer."""
    ensure_payments(owner, accepted=loaded.payments)
    ensure_payments(owner, accepted=loaded.payments - 3, unheard=3)
    with pytest.raises(VerificationFailed, match="were answered"):
        ensure_payments(owner, accepted=loaded.payments + 1)
    with pytest.raises(VerificationFailed, match="were answered"):
        ensure_payments(owner, accepted=loaded.payments - 4, unheard=3)


def test_a_cent_that_the_gateway_did_not_move_fails_the_run(loaded: Loaded, owner: Any) -> None:
    """Counts and sums are compared with those of the events."""
    ours = successes(owner)
    figures = {name: getattr(ours, name) for name in ours.__struct_fields__}
    assert loaded.payments == ours.effects
    assert ours.deposit_minor > 0
    assert ours.withdraw_minor > 0
    assert ours.commission_minor > 0

    with gateway_that_says(**figures) as url:
        ensure_effects(owner, url)
    for name, value in figures.items():
        with gateway_that_says(**figures | {name: value - 1}) as url, pytest.raises(VerificationFailed):
            ensure_effects(owner, url)


def test_a_payment_that_does_not_settle_fails_the_run(database: Database, owner: Any) -> None:
    """The run waits for read models that do not catch up, but only for a limited time."""
    open_accounts(database, 3)

    with pytest.raises(VerificationFailed, match="3 are left"):
        wait_until_settled(owner, seconds=0)
