"""Turns the result of a gateway call into an outcome.

`outcome_of` is the table for `POST /pay`, `inquiry_outcome_of` the one for `GET /payments/{id}`. Both are pure: they
map a `CallResult` to one member of a small closed set, so that the code that decides the next step never sees a status
code or an exception. Both follow one rule: a result is unknown unless it is certainly approved, declined or never sent.
A payment that is wrongly considered failed loses money; one that is wrongly considered unknown only costs an inquiry.
An answer need not name its payment. An answer that names another payment says nothing about this one.

    Approved | Declined | NotAccepted | Unknown      the outcome of a call (`Outcome`)
    Approved | Declined | NotFound | NoClearAnswer  the outcome of an inquiry (`InquiryOutcome`)
"""

import json
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, ClassVar, Final, Literal, assert_never

from msgspec import Struct

from ledger.audit.check_events import REFERENCE_CHARACTERS_MAX

APPROVED_WORDS: Final = frozenset({"ok", "success", "approved"})
DECLINED_WORDS: Final = frozenset({"declined"})
STILL_OPEN_WORDS: Final = frozenset({"timeout", "pending"})
NOT_FOUND_WORD: Final = "not_found"
FOR_ANOTHER: Final = "answer_for_another_payment"

NOT_ACCEPTED_STATUSES: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS})
"""The 4xx that say that the gateway did not accept the call, so that it had no effect."""

OUTCOME_UNKNOWN_STATUSES: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})
"""The 4xx that leave the outcome unknown: the gateway may have moved the money, in this call or an earlier one."""


class Approved(Struct, frozen=True):
    """The gateway moved the money; `reference` is its own name for the payment, if it gave one."""

    NAME: ClassVar[Literal["approved"]] = "approved"
    reference: str | None = None


class Declined(Struct, frozen=True):
    """The gateway certainly did not move the money and will not; `reason` is a short word."""

    NAME: ClassVar[Literal["declined"]] = "declined"
    reason: str


class NotAccepted(Struct, frozen=True):
    """The call certainly had no effect, because it was not accepted or never sent; another call may succeed."""

    NAME: ClassVar[Literal["turned_away"]] = "turned_away"
    error: str
    retry_after_seconds: float | None = None


class Unknown(Struct, frozen=True):
    """The gateway may have moved the money, but did not say so."""

    NAME: ClassVar[Literal["unknown"]] = "unknown"
    error: str
    retry_after_seconds: float | None = None


class NotFound(Struct, frozen=True):
    """The gateway does not know the payment; it may still have received a call that it has not worked off."""

    NAME: ClassVar[Literal["not_found"]] = "not_found"


class NoClearAnswer(Struct, frozen=True):
    """The answer to an inquiry does not say clearly whether the gateway moved the money."""

    NAME: ClassVar[Literal["no_clear_answer"]] = "no_clear_answer"
    error: str


Outcome = Approved | Declined | NotAccepted | Unknown
InquiryOutcome = Approved | Declined | NotFound | NoClearAnswer


class CallResult(Struct, frozen=True, kw_only=True):
    """The result of one call, before it is interpreted.

    `lost` is a short word for the failure when no whole answer arrived; `never_sent` then says that no byte of the
    request can have reached the gateway. `body` is a whole body, or None for a body above the limit.
    """

    elapsed_ms: int
    http_status: int | None = None
    body: bytes | None = b""
    answer_digest: str | None = None
    retry_after_seconds: float | None = None
    lost: str | None = None
    never_sent: bool = False


class AnswerFacts(Struct, frozen=True, kw_only=True):
    """An outcome, with the facts that the payment's history records.

    `answer_digest` is the SHA-256, in hex, of the body's bytes as far as they were read; None without an answer.
    """

    outcome: Outcome | InquiryOutcome
    http_status: int | None
    answer_digest: str | None
    elapsed_ms: int

    @property
    def error(self) -> str | None:
        """The short word for the error, None without an error."""
        match self.outcome:
            case Approved():
                return None
            case Declined(reason=reason):
                return reason
            case NotFound():
                return NOT_FOUND_WORD
            case NotAccepted(error=error) | Unknown(error=error) | NoClearAnswer(error=error):
                return error
            case never:
                assert_never(never)

    @property
    def reference(self) -> str | None:
        """The gateway's own name for a payment that it approved."""
        return self.outcome.reference if isinstance(self.outcome, Approved) else None


class GatewayAnswer(AnswerFacts, frozen=True, kw_only=True):
    """The outcome of `POST /pay`."""

    outcome: Outcome


class InquiryAnswer(AnswerFacts, frozen=True, kw_only=True):
    """The outcome of `GET /payments/{id}`."""

    outcome: InquiryOutcome


class ParsedAnswer(Struct, frozen=True):
    """The content of a body: its status word, the gateway's reference, and the payment that it names, if any."""

    word: str | None = None
    reference: str | None = None
    payment_id: int | None = None

    def is_for_another(self, payment_id: int) -> bool:
        """Tell whether the body names a payment other than this one."""
        return self.payment_id not in {None, payment_id}


def outcome_of(result: CallResult, *, payment_id: int) -> Outcome:
    """Interpret the result of `POST /pay` for a payment. The checks are in order of precedence."""
    status, wait = result.http_status, result.retry_after_seconds
    if result.lost is not None:
        return NotAccepted(result.lost, wait) if result.never_sent else Unknown(result.lost, wait)
    assert status is not None, "a call that was not lost has a status"
    answer = read_answer(result.body)
    if answer.is_for_another(payment_id):
        return Unknown(FOR_ANOTHER, wait)
    if status in NOT_ACCEPTED_STATUSES:
        return NotAccepted(gateway_error(status), wait)
    if _is_refusal(status):
        return Declined(gateway_error(status))
    if not _is_success(status):
        return Unknown(gateway_error(status), wait)
    if answer.word in APPROVED_WORDS:
        return Approved(answer.reference)
    if answer.word in DECLINED_WORDS:
        return Declined("declined")
    return Unknown(_unclear(result.body, answer.word), wait)


def inquiry_outcome_of(result: CallResult, *, payment_id: int) -> InquiryOutcome:
    """Interpret the result of `GET /payments/{id}`. Only an explicit status word counts as a clear answer."""
    status = result.http_status
    if result.lost is not None:
        return NoClearAnswer(result.lost)
    assert status is not None, "a call that was not lost has a status"
    answer = read_answer(result.body)
    if answer.is_for_another(payment_id):
        return NoClearAnswer(FOR_ANOTHER)
    if _is_success(status) and answer.word in APPROVED_WORDS:
        return Approved(answer.reference)
    if _is_success(status) and answer.word in DECLINED_WORDS:
        return Declined("declined")
    if status == HTTPStatus.NOT_FOUND and answer.word == NOT_FOUND_WORD:
        return NotFound()
    return NoClearAnswer(_unclear(result.body, answer.word) if _is_success(status) else gateway_error(status))


def gateway_error(http_status: int) -> str:
    """Name an unsuccessful answer by its status, as the original does: `gateway_error_502`."""
    return f"gateway_error_{http_status}"


def read_answer(body: bytes | None) -> ParsedAnswer:
    """Parse a response body. The result is empty unless the body is an unambiguous JSON object.

    The status word may be in any case and have spaces around it. A body that two parsers could read differently is
    ambiguous: a repeated key, a byte order mark, another encoding than UTF-8, NaN.
    """
    if body is None:
        return ParsedAnswer()
    try:
        answer = json.loads(
            body.decode("utf-8"), object_pairs_hook=_object_without_repeats, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        return ParsedAnswer()
    if not isinstance(answer, dict):
        return ParsedAnswer()
    payment_id = _named_payment(answer.get("payment_id"))
    if not isinstance(word := answer.get("status"), str):
        return ParsedAnswer(payment_id=payment_id)
    return ParsedAnswer(word.strip().lower(), _clean_reference(answer.get("reference")), payment_id)


def _is_success(status: int) -> bool:
    return HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES


def _is_refusal(status: int) -> bool:
    is_client_error = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return is_client_error and status not in NOT_ACCEPTED_STATUSES | OUTCOME_UNKNOWN_STATUSES


def _unclear(body: bytes | None, word: str | None) -> str:
    if body is None:
        return "answer_too_large"
    return word if word in STILL_OPEN_WORDS else "answer_unreadable"


def _object_without_repeats(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make a dict of an object's pairs. Raises ValueError for a repeated key, as parsers differ in which one counts."""
    answer: dict[str, Any] = {}
    for key, value in pairs:
        if key in answer:
            raise ValueError("a key is repeated")
        answer[key] = value
    return answer


def _refuse_constant(_: str) -> None:
    raise ValueError("not a JSON number")


def _named_payment(named: object) -> int | None:
    """Return the payment id that an answer names, as a number or its digits; None for any other kind of name."""
    if isinstance(named, str) and re.fullmatch(r"[0-9]{1,16}", named, re.ASCII):
        return int(named)
    return named if type(named) is int else None


def _clean_reference(reference: object) -> str | None:
    """Return a reference that can be stored and shown, or None. It is the gateway's own text and decides nothing."""
    if not isinstance(reference, str) or not reference.isprintable():
        return None
    return reference[:REFERENCE_CHARACTERS_MAX] or None
