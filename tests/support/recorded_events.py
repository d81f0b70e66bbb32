"""A recorded deposit request, for tests of how events are stored."""

from datetime import UTC, datetime
from typing import Any

from ledger.domain.events import AnyEvent, IdempotencyKey, PaymentRequested, Recorded

AT = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)


def requested(**facts: Any) -> Recorded[AnyEvent]:
    """A deposit request as the log records it."""
    data = PaymentRequested(
        payment_id=1025,
        account_id=1,
        kind="deposit",
        amount_minor=20_000,
        fee_minor=400,
        fee_rate_ppm=20_000,
        currency="USD",
        idempotency=IdempotencyKey(scope="user-1", key="k", fingerprint="deposit/1/20000"),
    )
    where = {"originator_id": "payment-1025", "originator_version": 1}
    return Recorded(**{**where, "at": AT, "command_id": "r-1", "cause": "RequestDeposit", "data": data, **facts})
