"""The ledger against the model: random commands to two writers on a real store, and every table compared after each.

The two writers take turns on one schema, with caches so small that accounts and payments are forgotten and read again,
from snapshots too. Now and then one of them is stopped and another started, a connection is cut, the read models are
made anew, or both writers are sent commands while the head is locked, and have to wait for each other.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
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

import ledger.books
import ledger.writer
from ledger.application import Ledger
from ledger.audit import verify_seals
from ledger.commands import AnyCommand, Command, OpenAccount, PaymentAcceptance
from ledger.errors import LedgerError
from ledger.writer import Writer
from projections.rebuild import rebuild
from tests.databases import fresh_ledger
from tests.machine_commands import (
    Answer,
    Choose,
    again,
    anything,
    ending,
    expected,
    move,
    move_of,
    opening,
    request,
    request_with_key,
    small_request,
    to_be_filled,
    to_the_brim,
    told,
    under_way,
)
from tests.model import Model
from tests.store_and_model import Store, opened

USERS_MOST: Final = 3
TOGETHER_MOST: Final = 20

PLACES: Final = st.integers(0, 1)
SEEDS: Final = st.integers(0, 2**24 - 1)
"""What happens within a step follows from its seed; which steps there are is for Hypothesis to choose and to shrink.
Of a larger range Hypothesis would choose small numbers more often, and so the same ones again and again.
"""

Making = Callable[[Choose, Model], AnyCommand]


class LedgerMachine(RuleBasedStateMachine):
    """Sends commands to the writers of one store and to the model."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.model = Model()
        self.sent: list[AnyCommand] = []
        self.requested_at: dict[int, Any] = {}
        self.page_max = 1
        self.rebuilt = False
        self.loop = asyncio.new_event_loop()
        self.writers: list[Writer] = []
        self.fits = False
        store.begin_anew()

    @initialize(capacity=st.integers(1, 4), page_max=st.sampled_from([1, 3, 100]))
    def begin(self, capacity: int, page_max: int) -> None:
        """Start two writers, and give them an account."""
        self.page_max = page_max
        self.writers = [self._new_writer(capacity) for _ in range(2)]
        self._carry_out(0, [OpenAccount(command_id="open", opening=Decimal(1000), currency="USD")])

    def teardown(self) -> None:
        """Bring all payments to an end, and look at all of it once more."""
        try:
            if self.fits:
                self._bring_to_an_end()
        finally:
            for writer in self.writers:
                writer.stop()
            self.loop.close()

    # --- one command after the other ---

    @precondition(lambda self: len(self.model.users) < USERS_MOST)
    @rule(place=PLACES, seed=SEEDS)
    def open(self, place: int, seed: int) -> None:
        """Open another account."""
        self._carry_out(place, [opening(Random(seed).choice, self.model)])

    @rule(place=PLACES, seed=SEEDS)
    def request(self, place: int, seed: int) -> None:
        """Ask for a payment."""
        self._carry_out(place, [request(Random(seed).choice, self.model)])

    @precondition(lambda self: bool(self.model.payments))
    @rule(place=PLACES, seed=SEEDS)
    def lead_on(self, place: int, seed: int) -> None:
        """Let something happen to a payment: the gateway's word or an operator's."""
        self._carry_out(place, [move(Random(seed).choice, self.model)])

    @rule(place=PLACES, seed=SEEDS)
    def say_again(self, place: int, seed: int) -> None:
        """Send again what was sent before, as it was or altered."""
        self._carry_out(place, [again(Random(seed).choice, self.sent)])

    # --- several at once ---

    @precondition(lambda self: bool(to_be_filled(self.model)))
    @rule(place=PLACES, seed=SEEDS)
    def fill_to_the_brim(self, place: int, seed: int) -> None:
        """Deposit all that an account has room for, and a coin more, in one batch."""
        self._carry_out(place, to_the_brim(Random(seed).choice, self.model))

    @rule(place=PLACES, seed=SEEDS, count=st.integers(2, TOGETHER_MOST))
    def send_together(self, place: int, seed: int, count: int) -> None:
        """Send several commands in one batch, each made in the knowledge of the ones before it."""
        self._send_as_made(place, seed, [anything] * count)

    @rule(place=PLACES, seed=SEEDS, count=st.integers(2, TOGETHER_MOST))
    def live(self, place: int, seed: int, count: int) -> None:
        """Let much happen to one payment in one batch, from its beginning on."""
        payment_id = self.model.next_payment_id(1)

        def go_on(choose: Choose, model: Model) -> AnyCommand:
            payment = model.payments.get(payment_id)  # a full account takes no deposit
            return anything(choose, model) if payment is None else move_of(choose, model, payment)

        self._send_as_made(place, seed, [small_request] + [go_on] * count)

    @rule(first=PLACES, seed=SEEDS, the_same=st.booleans())
    def send_both_at_once(self, first: int, seed: int, *, the_same: bool) -> None:
        """Send a command to either writer while the head is locked: both have to wait, and see what came before."""
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

    # --- what happens to the machinery ---

    @rule(place=PLACES, capacity=st.integers(1, 4), unasked=st.booleans())
    def stop_a_writer(self, place: int, capacity: int, *, unasked: bool) -> None:
        """Stop one writer and start another in its place, which knows nothing yet; or cut the connections of both."""
        if unasked:
            connections = [writer._connection for writer in self.writers]
            self.store.cut(connection.info.backend_pid for connection in connections if connection is not None)
        else:
            self.writers[place].stop()
            self.writers[place] = self._new_writer(capacity)

    @precondition(lambda self: not self.rebuilt)
    @rule()
    def rebuild_the_read_models(self) -> None:
        """Make the read models anew, and swap them in."""
        self.rebuilt, self.fits = True, False
        assert rebuild(self.store.database).clean

    # --- what holds after each step ---

    @invariant()
    def all_is_as_the_model_has_it(self) -> None:
        """Every table; after a step that did not fit there is nothing more to compare."""
        self.fits = False
        self.store.check_log(self.model)
        self.store.project(self.page_max)
        self.store.check_tables(self.model)
        self.fits = True

    def _bring_to_an_end(self) -> None:
        """When all is quiet and nothing in doubt, each payment has one end, and nothing is held or waiting."""
        while payments := under_way(self.model):
            self._carry_out(0, [ending(self.model, payments[0])])
        self.all_is_as_the_model_has_it()
        assert all(payment.state in {"succeeded", "failed"} for payment in self.model.payments.values())
        assert not any(self.model.held(user_id) or self.model.pending(user_id) for user_id in self.model.users)
        proof = verify_seals(self.store.database)
        assert (proof.ok, proof.events) == (True, len(self.model.log)), proof
        assert self.rebuilt or rebuild(self.store.database, check_only=True).clean
        self._check_histories()

    def _check_histories(self) -> None:
        """The library's own reading, from snapshots on, gives the same accounts and payments."""
        application = Ledger(self.store.database)
        try:
            for user_id in self.model.users:
                account = application.account(user_id)
                assert (account.posted_minor, account.held_minor) == (self.model.balance(user_id), 0)
            for payment_id, payment in self.model.payments.items():
                assert application.payment(payment_id).state == payment.state
        finally:
            application.close()

    # --- parts ---

    def _new_writer(self, capacity: int) -> Writer:
        writer = Writer(self.store.database, cache_capacity=capacity)
        writer.start()
        return writer

    def _carry_out(self, place: int, commands: Sequence[AnyCommand]) -> None:
        self._send(place, commands, [expected(self.model, command) for command in commands])

    def _send(self, place: int, commands: Sequence[AnyCommand], should_be: Sequence[Answer]) -> None:
        """Send commands to one writer as one batch, and hold its answers against those of the model."""
        sending = self.writers[place].execute_all(cast("Sequence[Command[Any]]", commands))
        self._compare(commands, should_be, self.loop.run_until_complete(sending))

    def _compare(self, commands: Sequence[AnyCommand], should_be: Sequence[Answer], answers: Sequence[object]) -> None:
        """Hold answers against those of the model; a replay gives the time of the first one."""
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
    """A store whose accounts have snapshots early, and whose writers read anew when they are only a little behind."""
    monkeypatch.setattr(ledger.books, "SNAPSHOT_EVERY", 4)
    monkeypatch.setattr(ledger.writer, "CATCH_UP_MAX", 12)
    with fresh_ledger(postgres_url) as database, opened(database) as store:
        yield store


@pytest.mark.timeout(900)
def test_the_ledger_does_what_the_model_does(store: Store) -> None:
    """A fixed choice of stories, the same in each run; a failing one is shown step by step."""
    run(store, settings(max_examples=40, stateful_step_count=40, derandomize=True, database=None))


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_ledger_does_what_the_model_does_for_thousands_of_steps(store: Store) -> None:
    """Other stories in each run; a failing one is shown step by step, and is tried first the next time."""
    run(store, settings(max_examples=400, stateful_step_count=100, print_blob=True))


def run(store: Store, wanted: settings) -> None:
    class Machine(LedgerMachine):
        def __init__(self) -> None:
            super().__init__(store)

    run_state_machine_as_test(
        Machine, settings=settings(wanted, deadline=None, suppress_health_check=list(HealthCheck))
    )
