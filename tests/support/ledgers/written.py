"""Logs that are written event by event, right ones and wrong ones, with the causes and times that the writer gives.

The short functions make events of one withdrawal or deposit of 50.00 with a fee of 1.00; facts can be overridden.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ledger.audit.check_hash_chain import SealedRow
from ledger.domain.events import (
    AccountAdjusted,
    AccountCredited,
    AccountDebited,
    AccountOpened,
    AnyEvent,
    FundsHeld,
    GatewayAttempted,
    GatewayChanged,
    HoldReleased,
    IdempotencyKey,
    LedgerRecovered,
    PaymentAdjusted,
    PaymentContradicted,
    PaymentEnded,
    PaymentFailed,
    PaymentInquired,
    PaymentParked,
    PaymentRequested,
    PaymentRequeued,
    PaymentResolved,
    PaymentSucceeded,
    Recorded,
)
from ledger.domain.identifiers import adjustment_fingerprint, decision_scope
from ledger.domain.kinds import KINDS
from ledger.store.serialization import encode

START: Final = datetime(2024, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC)
SOON: Final = START + timedelta(seconds=30)

_CAUSES: Final[Mapping[type[AnyEvent], str]] = {
    AccountOpened: "OpenAccount",
    LedgerRecovered: "recover",
    GatewayChanged: "pause_gateway",
    GatewayAttempted: "RecordGatewayOutcome",
    PaymentContradicted: "RecordGatewayOutcome",
    PaymentInquired: "RecordInquiry",
    PaymentParked: "RecordInquiry",
    PaymentRequeued: "RequeuePayment",
    PaymentResolved: "ResolvePayment",
    PaymentAdjusted: "AdjustPayment",
}
_ENDED_BY: Final = {
    "gateway": "RecordGatewayOutcome",
    "inquiry": "RecordInquiry",
    "resolution": "ResolvePayment",
    "reconciliation": "ResolvePayment",
}


class Log:
    """Writes events as rows, at the next version of their stream and at the time of the event before."""

    def __init__(self) -> None:
        self.rows: list[SealedRow] = []
        self.versions: dict[str, int] = {}
        self.at = START

    def write(
        self, event: AnyEvent, *, stream: str | None = None, version: int | None = None, later: int = 0, **more: Any
    ) -> None:
        """Write an event.

        Stream, version and the fields of `Recorded` may be overridden. Its time is `later` seconds after the one
        before.
        """
        own = {"account": "account-1", "ledger": "ledger"}.get(event.TOPIC.partition(".")[0])
        stream = stream or own or f"payment-{getattr(event, 'payment_id', 0)}"
        cause = self._cause(event)
        self.versions[stream] = version or self.versions.get(stream, 0) + 1
        self.at += timedelta(seconds=later)
        facts: dict[str, Any] = {"at": self.at, "command_id": "c", "cause": cause} | more
        recorded: Recorded[Any] = Recorded(
            originator_id=stream, originator_version=self.versions[stream], data=event, **facts
        )
        position = len(self.rows) + 1
        self.rows.append(SealedRow(position, stream, recorded.originator_version, event.TOPIC, encode(recorded), b""))

    def _cause(self, event: AnyEvent) -> str:
        if isinstance(event, PaymentRequested):
            return KINDS[event.kind].command
        if isinstance(event, PaymentEnded) and event.ended_by != "request":
            return _ENDED_BY[event.ended_by]
        stream = f"payment-{getattr(event, 'payment_id', 0)}"
        return _CAUSES.get(type(event), f"{stream}/{self.versions.get(stream, 0)}")


def log(*events: AnyEvent | tuple[AnyEvent, dict[str, Any]]) -> list[SealedRow]:
    """Write events; an event may come with overrides for `Log.write`."""
    written = Log()
    for event in events:
        if isinstance(event, tuple):
            written.write(event[0], **event[1])
        else:
            written.write(event)
    return written.rows


# --- short events ----------------------------------------------------------------------------------------------------

PAYMENT: Final[dict[str, Any]] = {
    "payment_id": 1,
    "account_id": 1,
    "kind": "withdraw",
    "amount_minor": 5_000,
    "fee_minor": 100,
    "currency": "USD",
}
MONEY: Final[dict[str, Any]] = {"payment_id": 1, "currency": "USD"}
CALL: Final[dict[str, Any]] = {"payment_id": 1, "series": 1, "gateway_key": "payment-1"}


def opened(minor: int = 100_000, **more: Any) -> AccountOpened:
    facts: dict[str, Any] = {"currency": "USD", "opening_minor": minor}
    return AccountOpened(**facts | more)


def recovered(**more: Any) -> LedgerRecovered:
    facts: dict[str, Any] = {"why": "restored", "next_account_id": 1025, "next_payment_sequence": 9, "calls": 0}
    return LedgerRecovered(**facts | more)


def requested(**more: Any) -> PaymentRequested:
    return PaymentRequested(**PAYMENT | {"fee_rate_ppm": 20_000} | more)


def held(**more: Any) -> FundsHeld:
    return FundsHeld(**MONEY | {"amount_minor": 5_100} | more)


def released(**more: Any) -> HoldReleased:
    return HoldReleased(**MONEY | {"amount_minor": 5_100} | more)


def credited(**more: Any) -> AccountCredited:
    return AccountCredited(**MONEY | {"gross_minor": 5_000, "fee_minor": 100, "net_minor": 4_900} | more)


def debited(**more: Any) -> AccountDebited:
    facts = {"gross_minor": 5_000, "fee_minor": 100, "total_minor": 5_100, "held_minor": 5_100}
    return AccountDebited(**MONEY | facts | more)


def attempted(**more: Any) -> GatewayAttempted:
    return GatewayAttempted(**CALL | {"attempt": 1, "outcome": "turned_away", "retry_at": SOON} | more)


def approved(**more: Any) -> GatewayAttempted:
    return attempted(**{"outcome": "approved", "retry_at": None} | more)


def declined(**more: Any) -> GatewayAttempted:
    return attempted(**{"outcome": "declined", "retry_at": None} | more)


def lost(**more: Any) -> GatewayAttempted:
    return attempted(**{"outcome": "unknown", "retry_at": None, "inquire_at": SOON} | more)


def inquired(answer: str = "no_clear_answer", **more: Any) -> PaymentInquired:
    return PaymentInquired(**CALL | {"answer": answer} | more)


def parked(**more: Any) -> PaymentParked:
    facts: dict[str, Any] = {"payment_id": 1, "series": 1, "reason": "no_clear_answer"}
    return PaymentParked(**facts | more)


def succeeded(**more: Any) -> PaymentSucceeded:
    return PaymentSucceeded(**PAYMENT | {"series": 1, "ended_by": "gateway"} | more)


def failed(**more: Any) -> PaymentFailed:
    return PaymentFailed(**PAYMENT | {"series": 1, "ended_by": "gateway", "reason": "declined"} | more)


def refused(**more: Any) -> PaymentFailed:
    return failed(**{"ended_by": "request", "reason": "insufficient_funds"} | more)


def requeued(**more: Any) -> PaymentRequeued:
    return PaymentRequeued(**PAYMENT | {"series": 2, "gateway_key": "payment-1-2", "why": "x"} | more)


def contradicted(**more: Any) -> PaymentContradicted:
    return PaymentContradicted(**CALL | more)


def resolved(outcome: str = "success", **more: Any) -> PaymentResolved:
    facts: dict[str, Any] = {"payment_id": 1, "outcome": outcome, "why": "x"}
    return PaymentResolved(**facts | more)


def adjusted(**more: Any) -> PaymentAdjusted:
    facts = MONEY | {"direction": "out", "amount_minor": 5_000, "against": "suspense", "why": "x"} | more
    if "gateway_key" not in facts:
        booked = (facts["against"], facts["direction"], facts["amount_minor"], "")
        fingerprint = adjustment_fingerprint(facts["payment_id"], *booked)
        facts["idempotency"] = IdempotencyKey(
            scope=decision_scope(facts["payment_id"]), key="booked", fingerprint=fingerprint
        )
    return PaymentAdjusted(**facts)


def account_adjusted(**more: Any) -> AccountAdjusted:
    return AccountAdjusted(**MONEY | {"direction": "out", "amount_minor": 5_000} | more)


WITHDRAWAL: Final = (opened(), requested(), held())
PAID_OUT: Final = (*WITHDRAWAL, approved(), succeeded(), debited())
GIVEN_BACK: Final = (*WITHDRAWAL, declined(), failed(), released())
DEPOSITED: Final = (opened(), requested(kind="deposit"), approved(), succeeded(kind="deposit"), credited())
PARKED: Final = (*WITHDRAWAL, lost(), inquired(), parked())
AGAIN: Final = (*GIVEN_BACK, requeued(), held())
ASKED_FIRST: Final = (*GIVEN_BACK, requeued(asks_first=True), held())
NOT_FOUND: Final = (
    *WITHDRAWAL,
    lost(),
    inquired("not_found"),
    failed(ended_by="inquiry", inquire_at=SOON),
    released(),
)
