"""The ledger against the model: random commands to two writers on a real store, and every table compared after each.

The two writers take turns on one schema, with caches so small that accounts and payments are forgotten and read again,
from snapshots too. Now and then one of them is stopped and another started, a connection is cut, the read models are
made anew, or both writers are sent commands while the head is locked, and have to wait for each other.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
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
    Draw,
    again,
    ending,
    expected,
    move,
    move_of,
    opening,
    request,
    small_request,
    to_the_brim,
    told,
    under_way,
)
from tests.model import Model
from tests.store_and_model import Store, opened

TOGETHER_MOST: Final = 12
FILLED_MOST: Final = 3
"""Beyond so many payments no account is filled up with further ones: stories that go far find more than broad ones."""

Draws = Callable[[Draw, Model], AnyCommand]


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

    def _a_command(self, draws: Draws, data: st.DataObject) -> None:
        self._carry_out(data.draw(st.integers(0, 1)), [draws(data.draw, self.model)])

    @precondition(lambda self: len(self.model.users) < 3)
    @rule(data=st.data())
    def open(self, data: st.DataObject) -> None:
        """Open another account."""
        self._a_command(opening, data)

    @rule(data=st.data())
    def request(self, data: st.DataObject) -> None:
        """Ask for a payment."""
        self._a_command(request, data)

    @precondition(lambda self: bool(self.model.payments))
    @rule(data=st.data())
    def lead_on(self, data: st.DataObject) -> None:
        """Let something happen to a payment: the gateway's word or an operator's."""
        self._a_command(move, data)

    @rule(data=st.data())
    def say_again(self, data: st.DataObject) -> None:
        """Send again what was sent before, as it was or altered."""
        self._carry_out(data.draw(st.integers(0, 1)), [again(data.draw, self.sent)])

    # --- several at once ---

    @precondition(lambda self: len(self.model.payments) < FILLED_MOST)
    @rule(data=st.data())
    def fill_to_the_brim(self, data: st.DataObject) -> None:
        """Deposit all that an account has room for, and a coin more, in one batch."""
        self._carry_out(data.draw(st.integers(0, 1)), to_the_brim(data.draw, self.model))

    @rule(data=st.data(), count=st.integers(2, TOGETHER_MOST))
    def send_together(self, data: st.DataObject, count: int) -> None:
        """Send several commands in one batch, each drawn in the knowledge of the ones before it."""
        self._send_as_drawn(data, [self._any] * count)

    @rule(data=st.data(), count=st.integers(2, TOGETHER_MOST))
    def live(self, data: st.DataObject, count: int) -> None:
        """Let much happen to one payment in one batch, from its beginning on."""
        payment_id = self.model.next_payment_id(1)

        def go_on(draw: Draw, model: Model) -> AnyCommand:
            # A full account takes no deposit; then something else is asked for.
            return (
                move_of(draw, model, model.payments[payment_id])
                if payment_id in model.payments
                else request(draw, model)
            )

        self._send_as_drawn(data, [small_request] + [go_on] * count)

    def _send_as_drawn(self, data: st.DataObject, drawing: Sequence[Draws]) -> None:
        commands, answers = [], []
        for draws in drawing:
            commands.append(draws(data.draw, self.model))
            answers.append(expected(self.model, commands[-1]))
        self._send(data.draw(st.integers(0, 1)), commands, answers)

    @rule(data=st.data(), first=st.integers(0, 1), the_same=st.booleans())
    def send_both_at_once(self, data: st.DataObject, first: int, *, the_same: bool) -> None:
        """Send a command to either writer while the head is locked: both have to wait, and see what came before."""
        commands: list[AnyCommand] = []
        answers, futures = [], []
        with self.store.head_locked() as stand_in_line:
            for count, place in enumerate([first, 1 - first], start=1):
                commands.append(
                    again(data.draw, commands) if the_same and commands else self._any(data.draw, self.model)
                )
                answers.append(expected(self.model, commands[-1]))
                futures.append(self.writers[place].submit(cast("Command[Any]", commands[-1])))
                stand_in_line(count)
        self._compare(commands, answers, [_answer_of(future) for future in futures])

    def _any(self, draw: Draw, model: Model) -> AnyCommand:
        draws: list[Draws] = [request, move, move, move] if model.payments else [request]
        return draw(st.sampled_from(draws))(draw, model)

    # --- what happens to the machinery ---

    @rule(place=st.integers(0, 1), capacity=st.integers(1, 4), unasked=st.booleans())
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
    run(store, settings(max_examples=40, stateful_step_count=50, derandomize=True, database=None))


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
