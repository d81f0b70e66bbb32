"""The bounds of an audit leave room for every setting, and for every text that the service accepts."""

from datetime import timedelta
from typing import Any, Final

import msgspec
import pytest

from api.resources.request import Text
from api.settings import Settings, SettingsError
from ledger.audit.check_bounds import LEASE_MAX
from ledger.audit.check_events import DELAY_MAX
from ledger.domain.events import TEXT_CHARACTERS_MAX
from processors.payments.retry_policy import RetryPolicy

DAY_SECONDS: Final = 86_400
LONGEST: Final = {
    name: str(DAY_SECONDS)
    for name in (
        "GATEWAY_BACKOFF_BASE_SECONDS",
        "GATEWAY_BACKOFF_MAX_SECONDS",
        "GATEWAY_BACKOFF_JITTER_SECONDS",
        "GATEWAY_INQUIRY_DELAY_SECONDS",
        "GATEWAY_LATE_INQUIRY_SECONDS",
        "WORKER_PROCESSING_TIMEOUT_SECONDS",
    )
}


@pytest.mark.parametrize("name", LONGEST)
def test_no_time_can_be_longer(name: str) -> None:
    """Otherwise the settings of the next test would not be the largest ones."""
    with pytest.raises(SettingsError, match=name):
        Settings.load({**LONGEST, name: str(DAY_SECONDS + 1)})


def test_the_longest_waits_that_can_be_set_are_within_the_bounds() -> None:
    """An audit would find a fault in each payment of a ledger with longer ones."""
    settings = Settings.load(LONGEST)
    policy = RetryPolicy(
        base_seconds=settings.gateway_backoff_base_seconds,
        cap_seconds=settings.gateway_backoff_max_seconds,
        jitter_seconds=settings.gateway_backoff_jitter_seconds,
        settle_seconds=settings.inquiry_delay_seconds,
        late_seconds=settings.gateway_late_inquiry_seconds,
    )
    waits: list[float] = [
        policy.retry_wait_seconds_max,
        policy.delay_seconds(9, retry_after_seconds=1e9, jitter=1.0),
        *policy.inquiry_wait_seconds_max,
        *(policy.inquiry_delay_seconds(inquiry, jitter=1.0) for inquiry in (1, 2, 99)),
        *policy.late_wait_seconds_max,
    ]

    assert timedelta(seconds=max(waits)) <= DELAY_MAX
    assert timedelta(seconds=settings.worker_processing_timeout_seconds) <= LEASE_MAX


def longest_accepted(accepted: Any) -> int:
    """The length of the longest text of one letter that a type of a request accepts."""
    for length in range(1, 10_000):
        try:
            msgspec.convert("x" * length, accepted)
        except msgspec.ValidationError:
            return length - 1
    raise AssertionError("there is no limit")


def test_the_longest_text_of_an_operator_is_within_the_bound() -> None:
    """It stands in the event of the decision."""
    assert 0 < longest_accepted(Text) <= TEXT_CHARACTERS_MAX
