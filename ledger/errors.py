"""What can go wrong, as one tree.

    LedgerError
    +-- Refusal                      the command is well-formed and the answer is no; trying again changes nothing
    |   +-- AccountNotFound
    |   +-- PaymentNotFound
    |   +-- AmountInvalid
    |   +-- CurrencyUnknown
    |   +-- BalanceLimitExceeded
    |   +-- InsufficientFunds
    |   +-- IdempotencyKeyReused
    |   +-- WrongState
    |   |   +-- NotRequeueable
    |   |   +-- NotResolvable
    |   +-- OutcomeImpossible
    |   +-- StaleCommand
    |   +-- CommandRejected
    |   +-- ExportInvalid
    |   +-- StoreNotEmpty
    |   +-- StoreInCharge
    +-- Unavailable                  nothing is wrong with the command; trying again later can help
    |   +-- WriterBusy
    |   +-- WriterStopped
    |   +-- DatabaseUnavailable
    |   +-- OutcomeUnknown
    |   +-- StoreWithheld
    +-- CommandFailed                a mistake of ours, and of no other command
    +-- StoreBroken                  the store is not what this program needs; an operator has to look
        +-- SchemaMissing
        +-- SchemaOlder
        +-- SchemaNewer
        +-- RoleMissing
        +-- LogBroken

Each class has a stable `code`, a docstring whose first line is its message, `may_retry`, and its facts as attributes.
The outside world saying no, such as a bank's decline, is an event and not an error.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False, kw_only=True)
class LedgerError(Exception):
    """The ledger could not do what it was asked."""

    code: ClassVar[str] = "ledger_error"
    may_retry: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """The sentence that says what is wrong, without the facts."""
        return (type(self).__doc__ or "").partition("\n")[0]

    @property
    def facts(self) -> dict[str, Any]:
        """What is known about this case, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        """Give the message and the facts, for logs and operators."""
        facts = ", ".join(f"{name}={value!r}" for name, value in self.facts.items())
        return f"{self.message} ({facts})" if facts else self.message


class Refusal(LedgerError):
    """The ledger refuses the command."""

    code = "refused"


@dataclass(eq=False, kw_only=True)
class AccountNotFound(Refusal):
    """There is no such user."""

    code = "user_not_found"
    account_id: int


@dataclass(eq=False, kw_only=True)
class PaymentNotFound(Refusal):
    """There is no such payment."""

    code = "payment_not_found"
    payment_id: int


@dataclass(eq=False, kw_only=True)
class AmountInvalid(Refusal):
    """The amount cannot be accepted."""

    code = "amount_invalid"
    why: str


@dataclass(eq=False, kw_only=True)
class CurrencyUnknown(Refusal):
    """The currency is not one that the ledger knows."""

    code = "currency_unknown"
    currency: str


@dataclass(eq=False, kw_only=True)
class BalanceLimitExceeded(Refusal):
    """The account would come to hold more than an account may."""

    code = "balance_limit_exceeded"
    account_id: int
    limit_minor: int


@dataclass(eq=False, kw_only=True)
class InsufficientFunds(Refusal):
    """Less money is available than the payment needs."""

    code = "insufficient_funds"
    available_minor: int
    needed_minor: int


@dataclass(eq=False, kw_only=True)
class IdempotencyKeyReused(Refusal):
    """The idempotency key was used for another request."""

    code = "idempotency_key_reused"
    key: str


@dataclass(eq=False, kw_only=True)
class WrongState(Refusal):
    """The payment is not in a state in which this can be done."""

    code = "wrong_state"
    payment_id: int
    state: str


class NotRequeueable(WrongState):
    """Only a payment that failed at the gateway can be queued again."""

    code = "not_requeueable"


class NotResolvable(WrongState):
    """Only a dead letter can be resolved."""

    code = "not_resolvable"


@dataclass(eq=False, kw_only=True)
class OutcomeImpossible(Refusal):
    """The payment cannot take this outcome in the state it is in."""

    code = "outcome_impossible"
    payment_id: int
    state: str
    why: str


@dataclass(eq=False, kw_only=True)
class StaleCommand(Refusal):
    """The payment has moved on since the sender looked at it."""

    code = "stale_command"
    payment_id: int
    seen_version: int
    version: int


@dataclass(eq=False, kw_only=True)
class CommandRejected(Refusal):
    """The database cannot store what the command asks for."""

    code = "command_rejected"
    sqlstate: str


@dataclass(eq=False, kw_only=True)
class ExportInvalid(Refusal):
    """The file is not what an export of a whole ledger is."""

    code = "export_invalid"
    line: int
    what: str


@dataclass(eq=False, kw_only=True)
class StoreNotEmpty(Refusal):
    """A log can only be imported into an empty store."""

    code = "store_not_empty"
    position: int


class StoreInCharge(Refusal):
    """The store is no copy that waits to be taken over."""

    code = "store_in_charge"


class Unavailable(LedgerError):
    """The ledger cannot answer right now."""

    code = "unavailable"
    may_retry = True


class WriterBusy(Unavailable):
    """Too many commands are waiting to be written."""

    code = "writer_busy"


class WriterStopped(Unavailable):
    """The writer is shutting down; the command was not carried out."""

    code = "writer_stopped"


class DatabaseUnavailable(Unavailable):
    """The database cannot be reached; the command was not carried out."""

    code = "database_unavailable"


class OutcomeUnknown(Unavailable):
    """The database was lost while the command was being committed; whether it was carried out is not known."""

    code = "outcome_unknown"


class StoreWithheld(Unavailable):
    """The store is an imported copy that was not taken over; the command was not carried out."""

    code = "store_withheld"


@dataclass(eq=False, kw_only=True)
class CommandFailed(LedgerError):
    """The command met a mistake in the ledger's own program; it was not carried out."""

    code = "command_failed"
    what: str


class StoreBroken(LedgerError):
    """The store is not what this program needs."""

    code = "store_broken"


@dataclass(eq=False, kw_only=True)
class SchemaMissing(StoreBroken):
    """The database has no ledger in this schema; `payment-ledger migrate` makes one."""

    code = "schema_missing"
    schema: str


@dataclass(eq=False, kw_only=True)
class SchemaOlder(StoreBroken):
    """The ledger in the database is older than this program; `payment-ledger migrate` brings it up to date."""

    code = "schema_older"
    schema: str
    missing: str


@dataclass(eq=False, kw_only=True)
class SchemaNewer(StoreBroken):
    """The ledger in the database was made by a newer program; start that one."""

    code = "schema_newer"
    schema: str
    unknown: str


@dataclass(eq=False, kw_only=True)
class RoleMissing(StoreBroken):
    """The service's role is missing and may not be created; somebody who may has to run the given SQL."""

    code = "role_missing"
    sql: str


@dataclass(eq=False, kw_only=True)
class LogBroken(StoreBroken):
    """The event log is not in the order in which it was written."""

    code = "log_broken"
    position: int
    what: str
