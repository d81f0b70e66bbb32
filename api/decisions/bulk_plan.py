"""The list of the effects of a decision about many letters, letter by letter, and the digest of that list.

The list is made from the ledger's own rules, decided on one snapshot of the database and not written. The digest covers
all of it: the decision, the filter, and for each letter its payment, version, money, gateway key, the gateway's answer
and the result. Two lists with one digest are the same list.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec
from msgspec import Struct

from api.decisions.gateway_questions import GatewaySaid
from ledger.domain.commands import PaymentStanding, RequeuePayment, ResolvePayment
from ledger.domain.decision import key_in_question
from ledger.domain.events import PaymentFacts, PaymentRequeued, PaymentResolved, Resolution
from ledger.domain.kinds import KINDS, Direction, PaymentKind
from ledger.domain.payment import LetterState
from ledger.errors import Refusal
from ledger.writer.rehearsal import Rehearsed
from projections.models.dead_letter import Letter

LETTERS_MAX: Final = 10_000
"""The most letters that one list has."""

BulkAction = Literal["requeue", "resolve"]

_encoder: Final = msgspec.json.Encoder(order="deterministic")


class LetterFilter(Struct, frozen=True, kw_only=True):
    """Which letters are meant; None leaves a filter out. `since` is the time from which the letters are."""

    state: LetterState | None = None
    error: str | None = None
    since: datetime | None = None
    user_id: int | None = None
    kind: PaymentKind | None = None
    currency: str | None = None


class BulkDecision(Struct, frozen=True, kw_only=True):
    """The decision about each letter. Only a resolution has an outcome, and may be forced."""

    action: BulkAction
    outcome: Resolution | None = None
    force: bool = False


class PlannedLetter(PaymentFacts, frozen=True, kw_only=True):
    """The effect on one letter: the state that it would get, or the code of the refusal.

    `letter_id` is the position of the letter, `version` that of its payment. `gateway_key` is the key of the new series
    for a requeue, and that which the gateway was asked about for a resolution.
    """

    letter_id: int
    letter_state: LetterState
    error: str
    version: int
    becomes: str | None = None
    refused: str | None = None
    gateway_key: str | None = None
    said: GatewaySaid = GatewaySaid()
    forced: bool = False


class Money(Struct, frozen=True, kw_only=True):
    """The money of letters in one currency, in minor units: incoming, outgoing, and the fees of both."""

    currency: str
    letters: int
    in_minor: int
    out_minor: int
    fees_minor: int


class BulkPlan(Struct, frozen=True, kw_only=True):
    """A list: the decision, the filter, and its letters, oldest first.

    Letters that match and come after the last one are not part of it, so new letters do not change it.
    """

    decision: BulkDecision
    chosen: LetterFilter
    letters: Sequence[PlannedLetter]

    @property
    def digest(self) -> str:
        """The digest of the list."""
        return hashlib.sha256(encode_plan(self)).hexdigest()

    @property
    def going(self) -> list[PlannedLetter]:
        """The letters about which something is done."""
        return [letter for letter in self.letters if letter.refused is None]

    @property
    def refused(self) -> dict[str, int]:
        """How many letters are refused, by the code of the refusal."""
        return dict(sorted(Counter(each.refused for each in self.letters if each.refused is not None).items()))


def encode_plan(plan: BulkPlan) -> bytes:
    """Encode a list to the bytes that its digest covers."""
    return _encoder.encode(plan)


def decode_plan(stored: bytes) -> BulkPlan:
    """Decode a stored list."""
    return msgspec.json.decode(stored, type=BulkPlan)


def money_of(letters: Sequence[PaymentFacts]) -> list[Money]:
    """Sum up the money of letters, by currency."""
    return [
        Money(
            currency=currency,
            letters=len(of_currency),
            in_minor=_sum(of_currency, "in"),
            out_minor=_sum(of_currency, "out"),
            fees_minor=sum(each.fee_minor for each in of_currency),
        )
        for currency in sorted({letter.currency for letter in letters})
        if (of_currency := [letter for letter in letters if letter.currency == currency])
    ]


def _sum(letters: Sequence[PaymentFacts], direction: Direction) -> int:
    return sum(each.amount_minor for each in letters if KINDS[each.kind].direction == direction)


def planned_letter(letter: Letter, command: RequeuePayment | ResolvePayment, rehearsed: Rehearsed) -> PlannedLetter:
    """Give what a rehearsed command would do to a letter."""
    facts = {name: getattr(letter, name) for name in PaymentFacts.__struct_fields__}
    payment, result = rehearsed.payment, rehearsed.result
    known: dict[str, Any] = {
        "letter_id": letter.position,
        "letter_state": letter.state,
        "error": letter.error,
        "version": 0 if payment is None else payment.version,
    }
    if isinstance(command, ResolvePayment) and payment is not None:
        known["said"] = GatewaySaid(command.gateway_answer, command.gateway_error)
    if isinstance(result, Refusal):
        return PlannedLetter(**facts, **known, refused=result.code)
    assert isinstance(result.answer, PaymentStanding), result
    assert payment is not None, result
    if isinstance(command, ResolvePayment):
        known["gateway_key"] = key_in_question(payment, None)
    for planned in result.planned:
        if isinstance(planned.event, PaymentRequeued):
            known["gateway_key"] = planned.event.gateway_key
        elif isinstance(planned.event, PaymentResolved):
            known["forced"] = planned.event.forced
    return PlannedLetter(**facts, **known, becomes=result.answer.state)
