"""The worker's rules for a gateway's answers, in plain Python, as the model ledger is told of them.

`report_answers` takes a gateway's answers about a payment, one after the other, and reports to the model what the
worker must report. `report_recorded` takes the events that the ledger has recorded instead. It serves payments whose
calls were disturbed, for example by the death of a worker: nobody knows beforehand which of their calls were made, but
the consequences of each call are known.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from tests.model.ledger import Model, stream_of
from tests.model.state import Payment

ATTEMPTS_MOST: Final = 3

CALLS: Final = {
    "ok": ("approved", None),
    "declined": ("declined", "declined"),
    "402": ("declined", "gateway_error_402"),
    "422": ("declined", "gateway_error_422"),
    "429": ("turned_away", "gateway_error_429"),
    "502": ("unknown", "gateway_error_502"),
    "pending": ("unknown", "pending"),
    "garbage": ("unknown", "answer_unreadable"),
    "reset": ("unknown", "connection_lost"),
}
"""For each answer to a call: the outcome, and the last error that clients read."""

INQUIRIES: Final = {
    "ok": ("approved", None),
    "declined": ("declined", "declined"),
    "not_found": ("not_found", None),
    "pending": ("no_clear_answer", "pending"),
    "404": ("no_clear_answer", "gateway_error_404"),
    "500": ("no_clear_answer", "gateway_error_500"),
}
"""The same for answers to an inquiry. For `not_found`, the last error stays that of the last call."""


def report_answers(model: Model, payment_id: int, said: Sequence[tuple[str, str]]) -> None:
    """Report a gateway's answers to calls (`pay`) and to inquiries (`inquire`), in order, except those to late ones."""
    payment = model.payments[payment_id]
    for what, word in said:
        if payment.next_call == "inquire_late":
            return
        wanted = payment.next_call or ""
        assert wanted.startswith(what), f"payment {payment_id} is {payment.state}; it wants {payment.next_call}"
        if what == "pay":
            told, error = CALLS[word]
            then = follow_up(payment, told)
            model.outcome(payment_id, **seen(model, payment, told=told, then=then, error=error, reason=error))
        else:
            report_inquiry(model, payment_id, word)


def report_inquiry(model: Model, payment_id: int, word: str) -> None:
    """Report a gateway's answer to an inquiry, however late."""
    answer, error = INQUIRIES[word]
    payment = model.payments[payment_id]
    failing = "retry" if payment.asks_first else "fail_asking_late"
    then = {"approved": "succeed", "no_clear_answer": "inquire"}.get(answer, failing)
    facts = seen(model, payment, answer=answer, then=then, error=error, reason=error)
    del facts["attempt"]
    model.inquiry(payment_id, **facts)


def report_late_answers(model: Model, payment_id: int, events: Sequence[dict[str, Any]]) -> None:
    """Report the late inquiries among the events that the ledger has recorded.

    The gateway's answers do not say which of them came in time, and a late inquiry that timed out leaves no event.
    """
    report_recorded(model, payment_id, [event for event in events if event["data"].get("late")])


def follow_up(payment: Payment, told: str) -> str:
    """Return the next step after a call: no payment fails while its money may have moved.

    It may have in every later series, because a restored ledger has perhaps forgotten calls under its key.
    """
    maybe_moved = payment.maybe_moved or told == "unknown" or payment.series > 1
    if told == "approved":
        return "succeed"
    if told == "declined" and not maybe_moved:
        return "fail"
    if told != "declined" and payment.attempts + 1 < ATTEMPTS_MOST:
        return "retry"
    return "inquire" if maybe_moved else "fail"


def late_follow_up(data: dict[str, Any]) -> str:
    """Return the next step after a late inquiry, from its event's data."""
    if data["answer"] == "approved":
        return "succeed"
    return "inquire" if data.get("inquire_at") else "fail"


def report_recorded(model: Model, payment_id: int, events: Sequence[dict[str, Any]]) -> None:
    """Report the calls and inquiries that the ledger has recorded: events with `topic` and `data`, in order."""
    payment = model.payments[payment_id]
    for event, after in pairwise([*events, {"topic": "", "data": {}}]):
        data, end = event["data"], after["topic"]
        facts = seen(model, payment, error=data.get("error"), reason=after["data"].get("reason"))
        ended = {"payment.succeeded": "succeed", "payment.failed": "fail"}.get(end)
        if event["topic"] == "payment.gateway_attempted":
            then = ended or ("retry" if data.get("retry_at") else "inquire")
            facts |= {"told": data["outcome"], "then": then, "series": data["series"], "attempt": data["attempt"]}
            model.outcome(payment_id, **facts)
        elif event["topic"] == "payment.inquired":
            del facts["attempt"]
            then = ended or ("retry" if data.get("call_at") else "inquire")
            then = "fail_asking_late" if after["data"].get("inquire_at") else then
            late = payment.late_answers + 1 if data.get("late") else 0
            then = late_follow_up(data) if late else then
            model.inquiry(payment_id, **facts, answer=data["answer"], then=then, late=late)


def seen(model: Model, payment: Payment, **facts: Any) -> dict[str, Any]:
    """Build a report on the next attempt of a payment in its current state."""
    version = model.version(stream_of(payment))
    return {"seen_version": version, "series": payment.series, "attempt": payment.attempts + 1, **facts}
