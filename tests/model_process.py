"""What the gateway's process has to make of what a gateway says, as the model ledger is to hear of it.

`hear` takes the words that a gateway has said about a payment, one after the other, and reports to the model what has
to be reported. `follow` takes what the ledger has recorded instead: of a payment whose calls were disturbed, as by the
death of a worker, nobody knows beforehand which of them were made; what has to follow from them is known all the same.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from tests.model import Model, stream_of
from tests.model_books import Payment

ATTEMPTS_MOST: Final = 3

CALLS: Final = {
    "ok": ("approved", None),
    "declined": ("declined", "declined"),
    "402": ("declined", "gateway_error_402"),
    "429": ("turned_away", "gateway_error_429"),
    "502": ("unknown", "gateway_error_502"),
    "pending": ("unknown", "pending"),
    "garbage": ("unknown", "answer_unreadable"),
    "reset": ("unknown", "connection_lost"),
}
"""What a word means in answer to a call, and what clients read of it as the last error."""

INQUIRIES: Final = {
    "ok": ("approved", None),
    "declined": ("declined", "declined"),
    "not_found": ("declined", None),
    "pending": ("no_clear_answer", "pending"),
    "404": ("no_clear_answer", "gateway_error_404"),
    "500": ("no_clear_answer", "gateway_error_500"),
}
"""The same in answer to an inquiry. What the gateway never heard of failed for what went wrong with the last call."""


def hear(model: Model, payment_id: int, said: Sequence[tuple[str, str]]) -> None:
    """Report what a gateway has said: its words to calls (`pay`) and to inquiries (`inquire`), in order."""
    payment = model.payments[payment_id]
    for what, word in said:
        assert payment.next_call == what, f"payment {payment_id} is {payment.state}; it wants {payment.next_call}"
        if what == "pay":
            told, error = CALLS[word]
            then = follow_up(payment, told)
            model.outcome(payment_id, **seen(model, payment, told=told, then=then, error=error, reason=error))
        else:
            hear_of(model, payment_id, word)


def hear_of(model: Model, payment_id: int, word: str) -> None:
    """Report what a gateway has said to an inquiry, however late."""
    answer, error = INQUIRIES[word]
    then = {"approved": "succeed", "declined": "fail", "no_clear_answer": "inquire"}[answer]
    facts = seen(model, model.payments[payment_id], answer=answer, then=then, error=error, reason=error)
    del facts["attempt"]
    model.inquiry(payment_id, **facts)


def follow_up(payment: Payment, told: str) -> str:
    """What follows from a call: no payment fails while its money may have moved."""
    maybe_moved = payment.maybe_moved or told == "unknown"
    if told == "approved":
        return "succeed"
    if told == "declined" and not maybe_moved:
        return "fail"
    if told != "declined" and payment.attempts + 1 < ATTEMPTS_MOST:
        return "retry"
    return "inquire" if maybe_moved else "fail"


def follow(model: Model, payment_id: int, events: Sequence[dict[str, Any]]) -> None:
    """Report what the ledger has recorded of calls and inquiries: events with `topic` and `data`, in order."""
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
            model.inquiry(payment_id, **facts, answer=data["answer"], then=ended or "inquire")


def seen(model: Model, payment: Payment, **facts: Any) -> dict[str, Any]:
    """A report on the next attempt of a payment as it is."""
    version = model.version(stream_of(payment))
    return {"seen_version": version, "series": payment.series, "attempt": payment.attempts + 1, **facts}
