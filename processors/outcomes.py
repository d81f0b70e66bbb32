"""What a call of the gateway can have told us, and how its answer is read.

`outcome_of` is the table for `POST /pay`, `inquiry_outcome_of` the one for `GET /payments/{id}`. Both are pure: they
take what was heard (`Heard`) and give one member of a small closed set, so that whoever decides what follows never sees
a status code or an exception. The rule behind both tables: what is not surely approved, declined or never sent is
unknown, because a payment wrongly taken for failed loses money, and one wrongly taken for unknown is only asked about.
An answer need not name its payment; one that names another payment tells nothing about ours.

    Approved | Declined | TurnedAway | Unknown      what a call told (`Outcome`)
    Approved | Declined | NoClearAnswer             what an inquiry told (`InquiryOutcome`)
"""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal

from msgspec import Struct

APPROVED_WORDS: Final = frozenset({"ok", "success", "approved"})
DECLINED_WORDS: Final = frozenset({"declined"})
STILL_OPEN_WORDS: Final = frozenset({"timeout", "pending"})
NOT_FOUND_WORD: Final = "not_found"
FOR_ANOTHER: Final = "answer_for_another_payment"

RETRYABLE_STATUSES: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)
"""The 4xx that are no refusal of this payment: asked again, the gateway may say something else."""

REFERENCE_CHARACTERS_MAX: Final = 255


class Approved(Struct, frozen=True):
    """The gateway moved the money; `reference` is its own name for that, where it gave one."""

    NAME: ClassVar[Literal["approved"]] = "approved"
    reference: str | None = None


class Declined(Struct, frozen=True):
    """The gateway surely did not move the money and will not; `reason` is a short word."""

    NAME: ClassVar[Literal["declined"]] = "declined"
    reason: str


class TurnedAway(Struct, frozen=True):
    """The call surely had no effect, because it was not accepted or never sent; another may do better."""

    NAME: ClassVar[Literal["turned_away"]] = "turned_away"
    error: str
    retry_after_seconds: float | None = None


class Unknown(Struct, frozen=True):
    """The gateway may have moved the money and has not told us."""

    NAME: ClassVar[Literal["unknown"]] = "unknown"
    error: str
    retry_after_seconds: float | None = None


class NoClearAnswer(Struct, frozen=True):
    """The gateway was asked what became of a payment, and could not or did not say."""

    NAME: ClassVar[Literal["no_clear_answer"]] = "no_clear_answer"
    error: str


Outcome = Approved | Declined | TurnedAway | Unknown
InquiryOutcome = Approved | Declined | NoClearAnswer


class Heard(Struct, frozen=True, kw_only=True):
    """What one call brought to our ears.

    `lost` is the word for how the call ended when it did not end with a whole answer, and `never_sent` then says that
    not a byte of the request can have reached the gateway. `body` is a whole body, or None for one larger than we read.
    """

    elapsed_ms: int
    http_status: int | None = None
    body: bytes | None = b""
    answer_digest: str | None = None
    retry_after_seconds: float | None = None
    lost: str | None = None
    never_sent: bool = False


class GatewayAnswer(Struct, frozen=True, kw_only=True):
    """What `POST /pay` told, with what the history keeps of it.

    `answer_digest` is the SHA-256, in hex, of the body's bytes as far as they were read; None when there was no answer.
    """

    outcome: Outcome
    http_status: int | None
    answer_digest: str | None
    elapsed_ms: int

    @property
    def error(self) -> str | None:
        """The short word for what went wrong, None when nothing did."""
        return _error(self.outcome)

    @property
    def reference(self) -> str | None:
        """The gateway's own name for a payment that it approved."""
        return _reference(self.outcome)


class InquiryAnswer(Struct, frozen=True, kw_only=True):
    """What `GET /payments/{id}` told, with what the history keeps of it; as in GatewayAnswer."""

    outcome: InquiryOutcome
    http_status: int | None
    answer_digest: str | None
    elapsed_ms: int

    @property
    def error(self) -> str | None:
        """The short word for what went wrong, None when nothing did."""
        return _error(self.outcome)

    @property
    def reference(self) -> str | None:
        """The gateway's own name for a payment that it approved."""
        return _reference(self.outcome)


class Said(Struct, frozen=True):
    """What a body says: its status word, the gateway's reference, and the payment that it names, if any."""

    word: str | None = None
    reference: str | None = None
    payment_id: int | None = None

    def is_for_another(self, payment_id: int) -> bool:
        """Tell whether the body names a payment, and not this one."""
        return self.payment_id not in {None, payment_id}


def outcome_of(heard: Heard, *, payment_id: int) -> Outcome:
    """Read the answer to `POST /pay` for a payment. The rows stand in order of precedence."""
    status, wait = heard.http_status, heard.retry_after_seconds
    if heard.lost is not None:
        return TurnedAway(heard.lost, wait) if heard.never_sent else Unknown(heard.lost, wait)
    assert status is not None, "a call that was not lost has a status"
    said = read_answer(heard.body)
    if said.is_for_another(payment_id):
        return Unknown(FOR_ANOTHER, wait)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return TurnedAway(gateway_error(status), wait)
    if _is_refusal(status):
        return Declined(gateway_error(status))
    if not _is_success(status):
        return Unknown(gateway_error(status), wait)
    if said.word in APPROVED_WORDS:
        return Approved(said.reference)
    if said.word in DECLINED_WORDS:
        return Declined("declined")
    return Unknown(_unclear(heard.body, said.word), wait)


def inquiry_outcome_of(heard: Heard, *, payment_id: int) -> InquiryOutcome:
    """Read the answer to `GET /payments/{id}`. Only what the gateway says in so many words is an answer."""
    status = heard.http_status
    if heard.lost is not None:
        return NoClearAnswer(heard.lost)
    assert status is not None, "a call that was not lost has a status"
    said = read_answer(heard.body)
    if said.is_for_another(payment_id):
        return NoClearAnswer(FOR_ANOTHER)
    if _is_success(status) and said.word in APPROVED_WORDS:
        return Approved(said.reference)
    if _is_success(status) and said.word in DECLINED_WORDS:
        return Declined("declined")
    if status == HTTPStatus.NOT_FOUND and said.word == NOT_FOUND_WORD:
        return Declined(NOT_FOUND_WORD)
    return NoClearAnswer(_unclear(heard.body, said.word) if _is_success(status) else gateway_error(status))


def gateway_error(http_status: int) -> str:
    """Name an answer that is no success by its status, as the original does: `gateway_error_502`."""
    return f"gateway_error_{http_status}"


def read_answer(body: bytes | None) -> Said:
    """Read what a body says, which is nothing at all when it does not say plainly what it means.

    The word may be in any case and have spaces around it. A body that two readers could understand differently is not
    understood at all: a repeated key, a byte order mark, another encoding than UTF-8, NaN.
    """
    if body is None:
        return Said()
    try:
        answer = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return Said()
    if not isinstance(answer, dict):
        return Said()
    payment_id = _named_payment(answer.get("payment_id"))
    if not isinstance(word := answer.get("status"), str):
        return Said(payment_id=payment_id)
    return Said(word.strip().lower(), _clean_reference(answer.get("reference")), payment_id)


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _is_refusal(status: int) -> bool:
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in RETRYABLE_STATUSES


def _unclear(body: bytes | None, word: str | None) -> str:
    if body is None:
        return "answer_too_large"
    return word if word in STILL_OPEN_WORDS else "answer_unreadable"


def _object_without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; ValueError when a key comes twice, since readers differ in which one counts."""
    answer: dict[str, Any] = {}
    for key, value in pairs:
        if key in answer:
            raise ValueError("a key comes twice")
        answer[key] = value
    return answer


def _refuse_constant(_: str) -> None:
    raise ValueError("no JSON number")


def _named_payment(named: object) -> int | None:
    """Read an id such as ours, which may have become a text on its way; a gateway's own kind of name is none."""
    if isinstance(named, str) and re.fullmatch(r"[0-9]{1,16}", named, re.ASCII):
        return int(named)
    return named if type(named) is int else None


def _clean_reference(reference: object) -> str | None:
    """Keep a reference only when it can be stored and shown; it is the gateway's text, and nothing hangs on it."""
    if not isinstance(reference, str) or not reference.isprintable():
        return None
    return reference[:REFERENCE_CHARACTERS_MAX] or None


def _error(outcome: Outcome | InquiryOutcome) -> str | None:
    match outcome:
        case Approved():
            return None
        case Declined(reason=reason):
            return reason
        case TurnedAway(error=error) | Unknown(error=error) | NoClearAnswer(error=error):
            return error


def _reference(outcome: Outcome | InquiryOutcome) -> str | None:
    return outcome.reference if isinstance(outcome, Approved) else None
