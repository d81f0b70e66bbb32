"""The schema checks the rules of the program.

The same rule stands in Python and as a CHECK, so that neither a mistake of ours nor another program can store what the
ledger could not read. These tests read the constraints of a migrated database and hold them against the program.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Final, get_args

import pytest

from api.decisions.approvals import Action, Decision
from ledger.domain.decision import QueueAction, SubjectKind
from ledger.domain.kinds import KINDS, FeeRule
from ledger.domain.money import BALANCE_MINOR_MAX
from ledger.domain.payment import LetterState, PaymentState
from ledger.store.statements import load_statements
from projections.contract.postings import ChartAccount, Side
from projections.models.payment_status import Status
from tests.support.databases import fresh_ledger

WORDS: Final[dict[str, Collection[str]]] = {
    "idempotency_keys_subject_kind": get_args(SubjectKind),
    "gateway_queue_kind": KINDS,
    "gateway_queue_action": get_args(QueueAction),
    "payment_status_state": get_args(PaymentState),
    "payment_status_status": get_args(Status),
    "dead_letter_state": get_args(LetterState),
    "approval_action": get_args(Action),
    "approval_decision": get_args(Decision),
    "journal_posting_account": get_args(ChartAccount),
    "journal_posting_direction": get_args(Side),
}
"""The constraints that list words, and where the program has them."""


@pytest.fixture(scope="module")
def definitions(postgres_url: str) -> Iterator[dict[str, str]]:
    """The constraints and indexes of a migrated schema, by name, as the server writes them."""
    with fresh_ledger(postgres_url) as database, closing(database.connect(application="test", owner=True)) as owner:
        checks = owner.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = %s::regnamespace AND contype = 'c'",
            [database.schema],
        ).fetchall()
        indexes = owner.execute("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = %s", [database.schema])
        yield dict([*checks, *indexes])


def words(definition: str) -> list[str]:
    """The texts that a definition names."""
    return re.findall(r"'([^']*)'::text", definition)


@pytest.mark.parametrize("name", WORDS)
def test_a_column_takes_the_words_that_the_program_has_for_it(definitions: dict[str, str], name: str) -> None:
    """No more and no fewer."""
    assert sorted(words(definitions[name])) == sorted(WORDS[name])


def test_every_constraint_that_lists_words_is_held(definitions: dict[str, str]) -> None:
    """One that is added gets its line above."""
    assert {name for name, definition in definitions.items() if "ANY (ARRAY[" in definition} == set(WORDS)


def test_an_account_holds_no_more_than_javascript_can_read(definitions: dict[str, str]) -> None:
    """The database refuses what deciding would have refused."""
    assert str(BALANCE_MINOR_MAX) in definitions["account_balance_limit"]


def test_the_kinds_that_come_in_are_those_that_are_summed_up_as_on_their_way() -> None:
    """By the statement."""
    coming_in = [name for name, kind in KINDS.items() if kind.direction == "in"]
    statement = load_statements("ledger.writer", "writer.sql")["read_pending"]

    assert coming_in == re.findall(r"kind = '(\w+)'", statement)
    assert [kind.fee for kind in KINDS.values() if kind.direction == "in"] == [FeeRule.DEDUCTED]
    assert "sum(amount_minor - fee_minor)" in statement
