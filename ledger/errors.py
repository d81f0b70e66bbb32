"""All errors of the ledger, as one tree.

    LedgerError
    +-- Refusal                      the ledger refuses a well-formed command; trying again changes nothing
    |   +-- AccountNotFound
    |   +-- PaymentNotFound
    |   +-- AmountInvalid
    |   +-- CurrencyUnknown
    |   +-- CurrencyNotSupported
    |   +-- BalanceLimitExceeded
    |   +-- InsufficientFunds
    |   +-- IdempotencyKeyReused
    |   +-- IdempotencyKeyMissing
    |   +-- WrongState
    |   |   +-- NotRequeueable
    |   |   +-- NotResolvable
    |   |   +-- NotAdjustable
    |   +-- ContradictionNotNamed
    |   +-- GatewayDisagrees
    |   +-- OutcomeImpossible
    |   +-- StaleCommand
    |   +-- CommandRejected
    +-- Unavailable                  the command is correct; trying again later can help
    |   +-- WriterBusy
    |   +-- WriterStopped
    |   +-- DatabaseUnavailable
    |   +-- OutcomeUnknown
    |   +-- StoreInactive
    |   +-- TooManyWaiting
    +-- CommandFailed                a bug in the ledger that this command hit; other commands are not affected
    +-- StoreBroken                  this program cannot use the store; an operator must act
        +-- SchemaMissing
        +-- SchemaOlder
        +-- SchemaNewer
        +-- StoreRetired
        +-- RoleMissing
        +-- SessionRefused
        +-- PoolerSharesSessions
        +-- DatabaseEncodingWrong
        +-- PostgresTooOld
        +-- DatabaseNotDurable
        +-- NumbersUsedUp
        +-- LogBroken

Each class has a stable `code`, a docstring whose first line is its message, `may_retry`, and its facts as attributes.
A refusal by the outside world, such as a bank's decline, is an event and not an error.
"""

from dataclasses import dataclass, fields
from typing import Any, ClassVar


@dataclass(eq=False, kw_only=True)
class LedgerError(Exception):
    """The ledger could not carry out the request."""

    code: ClassVar[str] = "ledger_error"
    may_retry: ClassVar[bool] = False

    @property
    def message(self) -> str:
        """The error's message, without the facts."""
        return (type(self).__doc__ or "").partition("\n")[0]

    @property
    def facts(self) -> dict[str, Any]:
        """The facts of this case, by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __str__(self) -> str:
        """Return the message and the facts, for logs and operators."""
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
    """The ledger does not know the currency."""

    code = "currency_unknown"
    currency: str


@dataclass(eq=False, kw_only=True)
class CurrencyNotSupported(Refusal):
    """The gateway does not move money in the currency."""

    code = "currency_not_supported"
    currency: str


@dataclass(eq=False, kw_only=True)
class BalanceLimitExceeded(Refusal):
    """The account would hold more than an account may."""

    code = "balance_limit_exceeded"
    account_id: int
    limit_minor: int


@dataclass(eq=False, kw_only=True)
class InsufficientFunds(Refusal):
    """Less money is available than the payment needs."""

    code = "insufficient_funds"
    currency: str
    available_minor: int
    needed_minor: int


@dataclass(eq=False, kw_only=True)
class IdempotencyKeyReused(Refusal):
    """The idempotency key was used for another request."""

    code = "idempotency_key_reused"
    key: str


class IdempotencyKeyMissing(Refusal):
    """A booking that settles no contradiction needs an idempotency key; a repetition would book it again."""

    code = "idempotency_key_missing"


@dataclass(eq=False, kw_only=True)
class WrongState(Refusal):
    """The payment's state does not allow this."""

    code = "wrong_state"
    payment_id: int
    state: str


class NotRequeueable(WrongState):
    """Only a payment that failed at the gateway can be queued again."""

    code = "not_requeueable"


class NotResolvable(WrongState):
    """Only a dead letter can be resolved."""

    code = "not_resolvable"


class NotAdjustable(WrongState):
    """Only a payment that has ended at the gateway can be adjusted."""

    code = "not_adjustable"


@dataclass(eq=False, kw_only=True)
class ContradictionNotNamed(Refusal):
    """The decision must name one of the payment's open contradictions by its gateway key."""

    code = "contradiction_not_named"
    payment_id: int
    gateway_keys: str


@dataclass(eq=False, kw_only=True)
class GatewayDisagrees(Refusal):
    """The gateway says clearly that the outcome is another one; only a forced decision goes against that."""

    code = "gateway_disagrees"
    payment_id: int
    gateway_key: str
    answer: str


@dataclass(eq=False, kw_only=True)
class OutcomeImpossible(Refusal):
    """The payment cannot have this outcome in its present state."""

    code = "outcome_impossible"
    payment_id: int
    state: str
    why: str


@dataclass(eq=False, kw_only=True)
class StaleCommand(Refusal):
    """The payment has changed since the sender read it."""

    code = "stale_command"
    payment_id: int
    seen_version: int
    version: int


@dataclass(eq=False, kw_only=True)
class CommandRejected(Refusal):
    """The database cannot store the command's data."""

    code = "command_rejected"
    sqlstate: str


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
    """The database cannot be reached, or cannot do its work now; the command was not carried out."""

    code = "database_unavailable"


class OutcomeUnknown(Unavailable):
    """The database was lost during the commit; it is not known whether the command was carried out."""

    code = "outcome_unknown"


class StoreInactive(Unavailable):
    """The store is an imported copy that was not activated; the command was not carried out."""

    code = "store_inactive"


@dataclass(eq=False, kw_only=True)
class TooManyWaiting(Unavailable):
    """The user has as many payments that have not ended as a user may have; nothing was recorded."""

    code = "too_many_waiting"
    account_id: int
    waiting_max: int


@dataclass(eq=False, kw_only=True)
class CommandFailed(LedgerError):
    """The command hit a bug in the ledger; it was not carried out."""

    code = "command_failed"
    what: str


class StoreBroken(LedgerError):
    """This program cannot use the store."""

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
    """A newer program made the ledger in the database; start that program."""

    code = "schema_newer"
    schema: str
    unknown: str


@dataclass(eq=False, kw_only=True)
class StoreRetired(StoreBroken):
    """Another store has taken over this ledger; this one never starts again."""

    code = "store_retired"
    successor: str


@dataclass(eq=False, kw_only=True)
class RoleMissing(StoreBroken):
    """The service's role is missing and this user may not create it; an administrator must run the given SQL."""

    code = "role_missing"
    sql: str

    def __str__(self) -> str:
        """Return the message, and the SQL on lines of its own, so that it can be pasted."""
        return f"{self.message}\n\n{self.sql}\n"


@dataclass(eq=False, kw_only=True)
class SessionRefused(StoreBroken):
    """A new session does not have a setting that it asks for; a pooler or a proxy in front of Postgres drops it."""

    code = "session_refused"
    setting: str
    wanted: str
    found: str


class PoolerSharesSessions(StoreBroken):
    """The pooler in front of Postgres shares server connections between sessions; it must pool whole sessions.

    For pgbouncer: `pool_mode = session`.
    """

    code = "pooler_shares_sessions"


@dataclass(eq=False, kw_only=True)
class DatabaseEncodingWrong(StoreBroken):
    """The encoding of the database is not UTF8; create a database with `ENCODING 'UTF8'`."""

    code = "database_encoding_wrong"
    encoding: str


@dataclass(eq=False, kw_only=True)
class PostgresTooOld(StoreBroken):
    """The ledger needs a newer Postgres; nothing was changed."""

    code = "postgres_too_old"
    found: str
    needed: str


@dataclass(eq=False, kw_only=True)
class DatabaseNotDurable(StoreBroken):
    """Postgres may lose what it has committed; switch the settings on, or set ALLOW_LOSS_OF_COMMITS."""

    code = "database_not_durable"
    off: str


@dataclass(eq=False, kw_only=True)
class NumbersUsedUp(StoreBroken):
    """Fewer numbers are left than the recovery would leave out; `payment-ledger recover --skip N` leaves out fewer."""

    code = "numbers_used_up"
    next_account_id: int
    next_payment_sequence: int


@dataclass(eq=False, kw_only=True)
class LogBroken(StoreBroken):
    """The event log is not as it was written."""

    code = "log_broken"
    position: int
    what: str
