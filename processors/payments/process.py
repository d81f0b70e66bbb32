"""The payment's process as pure functions: from the gateway's outcome to the next step.

`follow_up` decides after a call, `follow_inquiry` after an inquiry, `follow_first_inquiry` after the inquiry before a
new series, `follow_late_inquiry` after one about a payment that has failed. They use no clock, network or database:
jitter is an argument, delays are returned as durations, and the worker does the rest. All follow one rule: a payment
fails only when no money moved as far as the gateway can tell, and what it did not know is asked again later.
"""

from typing import Final, assert_never

from msgspec import Struct

from ledger.domain.commands import Fail, FollowUp, InquireAfter, RetryAfter, Succeed
from processors.gateways.outcomes import (
    Approved,
    Declined,
    InquiryOutcome,
    NoClearAnswer,
    NotAccepted,
    NotFound,
    Outcome,
    Unknown,
)
from processors.payments.retry_policy import INQUIRY_INTERVAL_SECONDS_MAX, RetryPolicy


class PaymentSeen(Struct, frozen=True, kw_only=True):
    """The facts of a payment that a step needs: its series, the number of this attempt in it, both from 1, and more.

    `unknown_before` says that an earlier attempt under the gateway key, of this series or one before it, may have moved
    the money.
    """

    series: int
    attempt: int
    unknown_before: bool

    @property
    def may_have_moved(self) -> bool:
        """Whether the money may have moved before this attempt.

        It may in every later series: a store that was restored has perhaps forgotten that the payment was queued again,
        and that the gateway was called under the very key of this series.
        """
        return self.unknown_before or self.series > 1


def follow_up(payment: PaymentSeen, outcome: Outcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide the next step from the outcome of a call; `jitter` is between 0 and 1."""
    in_doubt = payment.may_have_moved or isinstance(outcome, Unknown)
    match outcome:
        case Approved():
            return Succeed()
        case Declined(reason=reason) if not in_doubt:
            return Fail(reason)
        case NotAccepted(retry_after_seconds=wait) | Unknown(retry_after_seconds=wait) if (
            payment.attempt < policy.attempts_max
        ):
            return RetryAfter(policy.delay_seconds(payment.attempt, retry_after_seconds=wait, jitter=jitter))
        case NotAccepted(error=error) if not in_doubt:
            return Fail(error)
        case _ if policy.inquiry:
            return InquireAfter(policy.inquiry_delay_seconds(1, jitter=jitter))
        case Declined(reason=error) | NotAccepted(error=error) | Unknown(error=error):
            return Fail(error, unasked=True)
        case never:
            assert_never(never)


def follow_inquiry(inquiry: int, outcome: InquiryOutcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide the next step from the answer to an inquiry; `inquiry` counts from 1 in its series.

    A payment that the gateway does not know fails with the error of its last attempt, and is asked about again.
    """
    match outcome:
        case Approved():
            return Succeed()
        case Declined(reason=reason):
            return Fail(reason)
        case NotFound():
            return Fail(inquire_after_seconds=policy.late_delay_seconds(0, jitter=jitter))
        case NoClearAnswer():
            return InquireAfter(policy.inquiry_delay_seconds(inquiry + 1, jitter=jitter))
        case never:
            assert_never(never)


def follow_first_inquiry(inquiry: int, outcome: InquiryOutcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide the next step from the answer about the gateway key before a new series.

    The series calls when no money moved under that key, or when the gateway cannot be asked.
    """
    match outcome:
        case Approved():
            return Succeed()
        case Declined() | NotFound():
            return RetryAfter(0.0)
        case NoClearAnswer() if not policy.inquiry:
            return RetryAfter(0.0)
        case NoClearAnswer():
            return InquireAfter(policy.inquiry_delay_seconds(inquiry + 1, jitter=jitter))
        case never:
            assert_never(never)


def follow_late_inquiry(inquiry: int, outcome: InquiryOutcome, *, policy: RetryPolicy, jitter: float) -> FollowUp:
    """Decide the next step from the answer about a failed payment; `inquiry` counts the late ones with a clear answer.

    Without a clear answer the same inquiry is repeated, after the time that it came after.
    """
    match outcome:
        case Approved():
            return Succeed()
        case Declined():
            return Fail()
        case NotFound():
            wait_seconds = policy.late_delay_seconds(inquiry, jitter=jitter)
            return Fail() if wait_seconds is None else InquireAfter(wait_seconds)
        case NoClearAnswer():
            again_seconds = policy.late_delay_seconds(inquiry - 1, jitter=jitter)
            return InquireAfter(INQUIRY_INTERVAL_SECONDS_MAX if again_seconds is None else again_seconds)
        case never:
            assert_never(never)


FOLLOW_INQUIRY: Final = {
    "inquire": follow_inquiry,
    "inquire_first": follow_first_inquiry,
    "inquire_late": follow_late_inquiry,
}
"""The function that decides after each kind of inquiry, by the action of the queue."""
