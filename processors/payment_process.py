"""What follows from what the gateway said: the payment's process, as pure functions.

`follow_up` decides after a call, `follow_inquiry` after an inquiry. They know nothing of clocks, networks or databases:
jitter comes in as a number, delays go out as durations, and the worker around them does the rest. The rule behind both:
a payment fails only when surely no money moved.
"""

from typing import assert_never

from msgspec import Struct

from ledger.commands import Fail, FollowUp, InquireAfter, RetryAfter, Succeed
from processors.outcomes import NOT_FOUND_WORD, Approved, Declined, InquiryOutcome, Outcome, TurnedAway, Unknown
from processors.retry_policy import RetryPolicy


class PaymentSeen(Struct, frozen=True, kw_only=True):
    """What a step needs to know of a payment: which attempt of its series this is, from 1, and what came before.

    `unknown_before` says that an earlier attempt of the series may have moved the money.
    """

    attempt: int
    unknown_before: bool


def follow_up(payment: PaymentSeen, outcome: Outcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide what follows from the outcome of a call; `jitter` is between 0 and 1."""
    in_doubt = payment.unknown_before or isinstance(outcome, Unknown)
    match outcome:
        case Approved():
            return Succeed()
        case Declined(reason=reason) if not in_doubt:
            return Fail(reason)
        case TurnedAway(retry_after_seconds=wait) | Unknown(retry_after_seconds=wait) if (
            payment.attempt < policy.attempts_max
        ):
            return RetryAfter(policy.delay_seconds(payment.attempt, retry_after_seconds=wait, jitter=jitter))
        case TurnedAway(error=error) if not in_doubt:
            return Fail(error)
        case _ if policy.inquiry:
            return InquireAfter(policy.inquiry_delay_seconds(1, jitter=jitter))
        case Declined(reason=error) | TurnedAway(error=error) | Unknown(error=error):
            return Fail(error, unasked=True)
        case never:
            assert_never(never)


def follow_inquiry(inquiry: int, outcome: InquiryOutcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide what follows from the answer to an inquiry, which counts from 1 in its series.

    A payment that the gateway never saw failed for what went wrong with its last attempt.
    """
    match outcome:
        case Approved():
            return Succeed()
        case Declined(reason=reason):
            return Fail(None if reason == NOT_FOUND_WORD else reason)
        case _:
            return InquireAfter(policy.inquiry_delay_seconds(inquiry + 1, jitter=jitter))
