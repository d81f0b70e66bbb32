"""The ledger against the model: random commands to two writers on a real store; every table is compared after each.

The two writers take turns on one schema. Their caches are so small that accounts and payments are evicted and read
again, also from snapshots. Now and then one writer is replaced, a connection is cut, the read models are rebuilt, both
writers get commands while the head is locked and must wait for each other, or the store is put back to an earlier copy
and recovered.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from decimal import Decimal
from random import Random
from typing import Any, Final, cast

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import ledger.writer.aggregate_cache
import ledger.writer.batch_view
import ledger.writer.cache_loading
from ledger.application.application import Ledger
from ledger.audit.verify import verify_store
from ledger.domain.commands import AnyCommand, Command, OpenAccount, PaymentAcceptance
from ledger.errors import LedgerError
from ledger.recovery.recover import recover
from ledger.writer.writer import Writer
from projections.engine.rebuild import rebuild
from tests.machines.commands import (
    Answer,
    again,
    anything,
    ending,
    expected,
    fillable,
    filling_deposits,
    move,
    move_of,
    opening,
    request,
    request_with_key,
    small_request,
    told,
    under_way,
)
from tests.machines.operator_commands import Choose
from tests.machines.restored_store import remembered, telling
from tests.machines.store_and_model import Backup, Store, opened
from tests.model.ledger import Model
from tests.support.databases import fresh_ledger

USERS_MOST: Final = 3
TOGETHER_MOST: Final = 20
KEY_SALT: Final = "5a175a175a175a17"

PLACES: Final = st.integers(0, 1)
SEEDS: Final = st.integers(0, 2**24 - 1)
"""A step draws everything from its seed; Hypothesis chooses the steps, and shrinks them.

From a larger range Hypothesis would choose small numbers more often, and so the same ones again and again.
"""

Making = Callable[[Choose, Model], AnyCommand]


class LedgerMachine(RuleBasedStateMachine):
    """Sends commands to the writers of one store and to the model."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.model = Model(key_salt=KEY_SALT)
        self.sent: list[AnyCommand] = []
        self.requested_at: dict[int, Any] = {}
        self.page_max = 1
        self.rebuilt = False
        self.copy: tuple[Backup, Model] | None = None
        self.remembered: set[tuple[int, str]] = set()
        self.loop = asyncio.new_event_loop()
        self.writers: list[Writer] = []
        self.fits = False
        store.reset()

    @initialize(capacity=st.integers(1, 4), page_max=st.sampled_from([1, 3, 100]))
    def begin(self, capacity: int, page_max: int) -> None:
        """Start two writers, and open an account."""
        self.page_max = page_max
        self.writers = [self._new_writer(capacity) for _ in range(2)]
        self._carry_out(0, [OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")])

    def teardown(self) -> None:
        """End all payments, and compare everything once more."""
        try:
            if self.fits:
                self._bring_to_an_end()
        finally:
            for writer in self.writers:
                writer.stop()
            self.loop.close()

    # --- single commands ---

    @precondition(lambda self: len(self.model.users) < USERS_MOST)
    @rule(place=PLACES, seed=SEEDS)
    def open(self, place: int, seed: int) -> None:
        """Open another account."""
        self._carry_out(place, [opening(Random(seed).choice, self.model)])

    @rule(place=PLACES, seed=SEEDS)
    def request(self, place: int, seed: int) -> None:
        """Request a payment."""
        self._carry_out(place, [request(Random(seed).choice, self.model)])

    @precondition(lambda self: bool(self.model.payments))
    @rule(place=PLACES, seed=SEEDS)
    def advance(self, place: int, seed: int) -> None:
        """Send a report of the worker or a decision of an operator about a payment."""
        self._carry_out(place, [move(Random(seed).choice, self.model)])

    @rule(place=PLACES, seed=SEEDS)
    def repeat(self, place: int, seed: int) -> None:
        """Send an earlier command again, unchanged or altered."""
        self._carry_out(place, [again(Random(seed).choice, self.sent)])

    # --- batches ---

    @precondition(lambda self: bool(fillable(self.model)))
    @rule(place=PLACES, seed=SEEDS)
    def fill_an_account(self, place: int, seed: int) -> None:
        """Deposit all that an account has room for, and one minor unit more, in one batch."""
        self._carry_out(place, filling_deposits(Random(seed).choice, self.model))

    @rule(place=PLACES, seed=SEEDS, count=st.integers(2, TOGETHER_MOST))
    def send_together(self, place: int, seed: int, count: int) -> None:
        """Send several commands in one batch, each drawn after the model has run those before it."""
        self._send_as_made(place, seed, [anything] * count)

    @rule(place=PLACES, seed=SEEDS, count=st.integers(2, TOGETHER_MOST))
    def run_one_payment(self, place: int, seed: int, count: int) -> None:
        """Run many commands on one new payment in one batch."""
        payment_id = self.model.next_payment_id(1)

        def go_on(choose: Choose, model: Model) -> AnyCommand:
            payment = model.payments.get(payment_id)  # None if the deposit was refused because the account is full
            return anything(choose, model) if payment is None else move_of(choose, model, payment)

        self._send_as_made(place, seed, [small_request] + [go_on] * count)

    @rule(first=PLACES, seed=SEEDS, the_same=st.booleans())
    def send_both_at_once(self, first: int, seed: int, *, the_same: bool) -> None:
        """Send a command to each writer while the head is locked: both wait, and the second sees the first's events."""
        choose = Random(seed).choice
        one = request_with_key(choose, self.model, f"{seed}") if the_same else anything(choose, self.model)
        answers, futures = [expected(self.model, one)], []
        other = again(choose, [one]) if the_same else anything(choose, self.model)
        answers.append(expected(self.model, other))
        with self.store.head_locked() as stand_in_line:
            for count, (place, command) in enumerate([(first, one), (1 - first, other)], start=1):
                futures.append(self.writers[place].submit(cast("Command[Any]", command)))
                stand_in_line(count)
        self._compare([one, other], answers, [_answer_of(future) for future in futures])

    def _send_as_made(self, place: int, seed: int, making: Sequence[Making]) -> None:
        choose = Random(seed).choice
        commands, answers = [], []
        for make in making:
            commands.append(make(choose, self.model))
            answers.append(expected(self.model, commands[-1]))
        self._send(place, commands, answers)

    # --- faults ---

    @rule(place=PLACES, capacity=st.integers(1, 4), unasked=st.booleans())
    def stop_a_writer(self, place: int, capacity: int, *, unasked: bool) -> None:
        """Replace one writer by a new one with an empty cache, or cut the connections of both."""
        if unasked:
            connections = [writer._session._connection for writer in self.writers]
            self.store.cut(connection.info.backend_pid for connection in connections if connection is not None)
        else:
            self.writers[place].stop()
            self.writers[place] = self._new_writer(capacity)

    @precondition(lambda self: not self.rebuilt)
    @rule()
    def rebuild_the_read_models(self) -> None:
        """Rebuild the read models, and swap them in."""
        self.rebuilt, self.fits = True, False
        assert rebuild(self.store.database).clean

    # --- a restore ---

    @precondition(lambda self: self.copy is None and bool(self.model.payments))
    @rule()
    def back_up(self) -> None:
        """Copy the store."""
        self.copy = self.store.back_up(), deepcopy(self.model)

    @precondition(lambda self: self.copy is not None and len(self.model.log) > len(self.copy[1].log))
    @rule(capacity=st.integers(1, 4), skip=st.sampled_from([100, 5_000]))
    def restore(self, capacity: int, skip: int) -> None:
        """Go on with the copy, which knows nothing of the events since. The gateway remembers the money that moved."""
        assert self.copy is not None
        self.fits = False
        (backup, model), forgotten, self.copy = self.copy, self.model, None
        for writer in self.writers:
            writer.stop()
        self.store.put_back(backup)
        recover(self.store.database, why="restored", skip=skip)
        self.model = model
        self.model.recover(skip)
        self.remembered |= remembered(model, forgotten)
        self.writers = [self._new_writer(capacity) for _ in range(2)]

    @precondition(lambda self: bool(self.remembered))
    @rule(place=PLACES, seed=SEEDS)
    def be_told_what_the_gateway_remembers(self, place: int, seed: int) -> None:
        """Get the gateway's answer about money that moved after the copy was made."""
        payment_id, key = Random(seed).choice(sorted(self.remembered))
        self.remembered.discard((payment_id, key))
        payment = self.model.payments[payment_id]
        self._send_as_made(place, seed, telling(payment, key))
        assert key in payment.moved

    # --- comparison ---

    @invariant()
    def all_is_as_the_model_has_it(self) -> None:
        """Compare every table with the model. After a failed step there is nothing left to compare."""
        self.fits = False
        self.store.check_log(self.model)
        self.store.project(self.page_max)
        self.store.check_tables(self.model)
        self.fits = True

    def _bring_to_an_end(self) -> None:
        """Once all payments have ended, each has one end, and nothing is held or queued."""
        while self.remembered:
            self.be_told_what_the_gateway_remembers(0, 0)
        while payments := under_way(self.model):
            self._carry_out(0, [ending(self.model, payments[0])])
        self.all_is_as_the_model_has_it()
        assert all(payment.state in {"succeeded", "failed"} for payment in self.model.payments.values())
        assert not any(self.model.held(user_id) or self.model.pending(user_id) for user_id in self.model.users)
        proof = verify_store(self.store.database)
        assert (proof.errors, proof.events) == ([], len(self.model.log)), proof
        assert self.rebuilt or rebuild(self.store.database, check_only=True).clean
        self._check_histories()

    def _check_histories(self) -> None:
        """The library's repository, which reads from snapshots on, returns the same accounts and payments."""
        application = Ledger(self.store.database)
        try:
            for user_id in self.model.users:
                account = application.account(user_id)
                assert (account.posted_minor, account.held_minor) == (self.model.balance(user_id), 0)
            for payment_id, payment in self.model.payments.items():
                assert application.payment(payment_id).state == payment.state
        finally:
            application.close()

    # --- internals ---

    def _new_writer(self, capacity: int) -> Writer:
        writer = Writer(self.store.database, cache_capacity=capacity)
        writer.start()
        return writer

    def _carry_out(self, place: int, commands: Sequence[AnyCommand]) -> None:
        self._send(place, commands, [expected(self.model, command) for command in commands])

    def _send(self, place: int, commands: Sequence[AnyCommand], should_be: Sequence[Answer]) -> None:
        """Send commands to one writer as one batch, and compare its answers with the model's."""
        sending = self.writers[place].execute_all(cast("Sequence[Command[Any]]", commands))
        self._compare(commands, should_be, self.loop.run_until_complete(sending))

    def _compare(self, commands: Sequence[AnyCommand], should_be: Sequence[Answer], answers: Sequence[object]) -> None:
        """Compare answers with the model's. A replay must repeat the time of the first answer."""
        self.fits = False
        self.sent += commands
        note(f"{commands} -> {answers}")
        assert list(should_be) == [told(answer) for answer in answers]
        for answer in answers:
            if isinstance(answer, PaymentAcceptance):
                assert self.requested_at.setdefault(answer.payment_id, answer.requested_at) == answer.requested_at


def _answer_of(future: Any) -> object:
    try:
        return future.result()
    except LedgerError as refusal:
        return refusal


@pytest.fixture
def store(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store that takes snapshots early, and whose writers reload when they are a little behind."""
    monkeypatch.setattr(ledger.writer.aggregate_cache, "SNAPSHOT_EVERY", 4)
    monkeypatch.setattr(ledger.writer.cache_loading, "CATCH_UP_MAX", 12)
    monkeypatch.setattr(ledger.writer.batch_view, "new_key_salt", lambda: KEY_SALT)
    with fresh_ledger(postgres_url) as database, opened(database) as store:
        yield store


@pytest.mark.timeout(900)
def test_the_ledger_does_what_the_model_does(store: Store) -> None:
    """Run a fixed set of examples, the same each time. A failing one is shown step by step."""
    run(store, settings(max_examples=40, stateful_step_count=40, derandomize=True, database=None))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_ledger_does_what_the_model_does_for_thousands_of_steps(store: Store) -> None:
    """Run new examples each time. A failing one is shown step by step, and run first the next time."""
    run(store, settings(max_examples=400, stateful_step_count=100, print_blob=True))


def run(store: Store, wanted: settings) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(
        Machine, settings=settings(wanted, deadline=None, suppress_health_check=list(HealthCheck))
    )
