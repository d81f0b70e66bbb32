"""The one table from error class to HTTP status, title and advice.

The title is constant for a class. The advice is a template that the error's facts fill in.
"""

from typing import Final, NamedTuple

from api import settings
from api.errors import (
    AccountNotOpenThen,
    ApprovalBeforeRecovery,
    ApprovalDecided,
    ApprovalExpired,
    ApprovalKeyEnded,
    ApprovalNotFound,
    ApprovalOfOwn,
    ApprovalWaiting,
    ApproverUnknown,
    BodyTooLarge,
    ContentCodingUnsupported,
    CrossSite,
    CursorInvalid,
    DemoGatewayUnavailable,
    Forbidden,
    HostUnknown,
    IdempotencyKeyInvalid,
    InternalError,
    KeyBoundElsewhere,
    KeyEnded,
    KeyNotFound,
    LettersChanged,
    MediaTypeUnsupported,
    MethodNotAllowed,
    NotOverPartitions,
    PlanNotFound,
    ProcessBusy,
    ReadsBusy,
    RequestError,
    RequestInvalid,
    RequestMalformed,
    RequestRefused,
    RouteNotFound,
    ScopeMissing,
    StreamSetAside,
    TooManyPayments,
    TooManyRequests,
    Unauthenticated,
)
from ledger import errors
from ledger.export.errors import CopyBehind, ExportInvalid, NotThePredecessor, StoreInCharge, StoreNotEmpty
from ledger.partition.identities import PartitionsDiffer
from ledger.store.migrations.older_parts import OlderPartsAlive


class Problem(NamedTuple):
    """The answer to one class of error; `advice`, filled in with the error's facts, becomes the `detail`."""

    status: int
    title: str
    advice: str


_BROKEN: Final = "The service's store needs an operator; `payment-ledger status` shows the reason."


_LATER: Final = "Send the same request again in a moment."


PROBLEMS: Final[dict[type[errors.LedgerError], Problem]] = {
    # the request itself
    RequestError: Problem(400, "The request cannot be carried out", "See the documentation at /docs."),
    RequestMalformed: Problem(400, "The request cannot be read", "The request cannot be read: {why}."),
    RouteNotFound: Problem(404, "There is nothing at this address", "See /docs for all addresses."),
    MethodNotAllowed: Problem(405, "The method is not allowed here", "Use one of: {allow}."),
    BodyTooLarge: Problem(413, "The body is too large", "Send at most {limit_bytes} bytes in one request."),
    MediaTypeUnsupported: Problem(
        415, "The body is not JSON", "Send JSON in UTF-8 with `Content-Type: application/json`."
    ),
    ContentCodingUnsupported: Problem(
        415, "The body has a content coding", "Send the body without `Content-Encoding`."
    ),
    RequestInvalid: Problem(422, "The request is not acceptable", "Change this and send the request again: {summary}."),
    CursorInvalid: Problem(
        422,
        "The cursor is not valid",
        "Send `next_cursor` of the previous page with the same filters, or leave the cursor out to start again.",
    ),
    IdempotencyKeyInvalid: Problem(
        422,
        "The idempotency key is not valid",
        "Send one Idempotency-Key, of 1 to 255 printable ASCII characters; for a decision not `approval-` or `bulk-`.",
    ),
    Unauthenticated: Problem(
        401, "The caller is not known", "Send a valid key as `Authorization: Bearer pl_...`, or as `X-API-Key`."
    ),
    Forbidden: Problem(403, "The caller may not do this", "Ask the operator for the right to do it."),
    ScopeMissing: Problem(
        403,
        "The key does not have the scope",
        "This needs the scope `{scope}`; ask the operator for a key with it.",
    ),
    KeyBoundElsewhere: Problem(
        403,
        "The key is bound to other users",
        "Ask only about the users to whom the key is bound, one at a time; lists over all users need another key.",
    ),
    CrossSite: Problem(
        403,
        "The page of another site may not do this",
        "Send the request with a program, or from a page of this service; CORS_ORIGINS names other sites that may.",
    ),
    HostUnknown: Problem(
        403,
        "The service is for its own machine alone",
        "Use localhost or 127.0.0.1 as the host. Behind a proxy, the operator sets AUTH=required, or AUTH=off where"
        " the proxy decides who may call.",
    ),
    TooManyRequests: Problem(
        429, "Too many requests", "Send fewer requests; send this one again after the seconds in Retry-After."
    ),
    TooManyPayments: Problem(
        429,
        "Too many payments",
        "Send fewer payments a minute; send this request again after the seconds in Retry-After.",
    ),
    NotOverPartitions: Problem(
        501,
        "Not possible over several partitions",
        "Decide about each letter alone, or use `payment-ledger dlq` with `--partition`; a second key can approve in a"
        " ledger with one partition only.",
    ),
    RequestRefused: Problem(400, "The request is refused", "The request cannot be carried out: {why}."),
    # the ledger refuses
    errors.Refusal: Problem(422, "The ledger refuses the request", "See the documentation at /docs."),
    errors.AccountNotFound: Problem(
        404, "There is no such user", "There is no user {account_id}. POST /api/v1/users/ opens one."
    ),
    errors.PaymentNotFound: Problem(
        404,
        "There is no such payment",
        "There is no payment {payment_id}. Use the payment_id in the answer to the request that made the payment.",
    ),
    AccountNotOpenThen: Problem(
        404, "The user had no account then", "User {account_id} was opened later; ask for a later time or position."
    ),
    KeyNotFound: Problem(404, "No key has this id", "No key has the id {key_id}; `GET /api/v1/keys` lists all."),
    KeyEnded: Problem(409, "The key has ended", "Key {key_id} was revoked or has expired; make a new one."),
    ApprovalNotFound: Problem(
        404, "The request is not known", "No request has the id {approval_id}; `GET /api/v1/approvals` lists all."
    ),
    ApprovalOfOwn: Problem(
        403, "Another key must approve this", "Request {approval_id} is your own; ask somebody with another key."
    ),
    ApprovalExpired: Problem(
        409,
        "The request has expired",
        "Request {approval_id} has waited too long; send a new one under a new key.",
    ),
    ApprovalDecided: Problem(
        409,
        "The request was decided before",
        "Request {approval_id} was {decision}; a new decision needs a new request.",
    ),
    ApprovalKeyEnded: Problem(
        409,
        "The key that asked has ended",
        "The key that sent request {approval_id} was revoked or has expired; ask again with another one.",
    ),
    ApprovalBeforeRecovery: Problem(
        409,
        "The request is older than the recovery",
        "The store was recovered since request {approval_id}; look at the payment and ask again, under a new key.",
    ),
    ApprovalWaiting: Problem(
        409,
        "Such a request waits already",
        "Request {approval_id} about the payment waits for the same action; approve or reject it first.",
    ),
    ApproverUnknown: Problem(
        403, "The decision needs a key", "Two keys have to agree to this decision, so send it with yours."
    ),
    LettersChanged: Problem(
        409,
        "The letters have changed",
        "Nothing was done: the letters are not as in the list {digest}. Make a new list, read it, and send its digest.",
    ),
    PlanNotFound: Problem(
        404, "The list is not known", "No list has the digest {digest}; `POST /api/v1/dlq/bulk/plan` makes one."
    ),
    errors.AmountInvalid: Problem(
        422,
        "The amount cannot be accepted",
        "Send the amount as a plain decimal number in the user's currency, such as 12.50; this one is refused: {why}.",
    ),
    errors.CurrencyUnknown: Problem(
        422,
        "The currency is not known",
        "Send an ISO 4217 code in capital letters, such as USD; {currency!r} is not a known code.",
    ),
    errors.CurrencyNotSupported: Problem(
        422,
        "The currency is not supported",
        "The payment gateway does not move money in {currency}; use a user in another currency.",
    ),
    errors.BalanceLimitExceeded: Problem(
        422,
        "The account would hold too much",
        "With this payment the account could hold more than {limit_minor} minor units; send a smaller amount.",
    ),
    errors.InsufficientFunds: Problem(
        422,
        "Too little money is available",
        "The amount with its fee is more than the available balance; send a smaller amount, or wait for a deposit.",
    ),
    errors.IdempotencyKeyReused: Problem(
        422,
        "The idempotency key was used for another request",
        "The key was used before, for another request; send a new key for a new request.",
    ),
    errors.IdempotencyKeyMissing: Problem(
        422,
        "The booking needs an idempotency key",
        "The payment has no open contradiction that the booking would settle; send an `Idempotency-Key`, so that a"
        " repetition books nothing.",
    ),
    errors.WrongState: Problem(
        409, "The payment's state does not allow this", "Payment {payment_id} is {state}; see GET /api/v1/dlq."
    ),
    errors.NotRequeueable: Problem(
        409,
        "The payment cannot be queued again",
        "Only a payment that failed at the gateway can be queued again; payment {payment_id} is {state}.",
    ),
    errors.NotResolvable: Problem(
        409,
        "The payment cannot be resolved like this",
        "Only a dead letter can be resolved, with an outcome that its state allows; payment {payment_id} is {state}.",
    ),
    errors.NotAdjustable: Problem(
        409,
        "The payment cannot be adjusted",
        "Only a payment that has ended at the gateway can be adjusted; payment {payment_id} is {state}.",
    ),
    errors.ContradictionNotNamed: Problem(
        422,
        "The contradiction is not named",
        "`gateway_key` must name an open contradiction of payment {payment_id}. Open: {gateway_keys}.",
    ),
    errors.GatewayDisagrees: Problem(
        409,
        "The gateway says otherwise",
        "Asked about {gateway_key} of payment {payment_id}, the gateway says `{answer}`. Nothing was done; send"
        " `force: true` only if you know better, and it is recorded that you went against the gateway.",
    ),
    errors.OutcomeImpossible: Problem(
        409, "The payment cannot take this outcome", "Payment {payment_id} is {state}: {why}."
    ),
    errors.StaleCommand: Problem(
        409, "The payment has changed", "Payment {payment_id} has changed since it was read; read it and decide again."
    ),
    errors.CommandRejected: Problem(
        422, "The request cannot be stored", "The database cannot store a text in this request; change its texts."
    ),
    ExportInvalid: Problem(422, "The file is not an export of a ledger", "Line {line}: {what}."),
    StoreNotEmpty: Problem(409, "The store is not empty", "It has events already; import into an empty store."),
    StoreInCharge: Problem(409, "The store is in charge already", "Only an imported copy can be activated."),
    CopyBehind: Problem(
        409, "The copy lacks events", "The store to retire is at position {position}, and the copy at {copied}."
    ),
    NotThePredecessor: Problem(409, "The store is not the predecessor of the copy", "Nothing was done: {why}."),
    # not now
    errors.Unavailable: Problem(503, "The service cannot answer now", _LATER),
    errors.WriterBusy: Problem(503, "The service is busy", f"Too many requests are waiting. {_LATER}"),
    errors.WriterStopped: Problem(503, "The service is stopping", f"The request was not carried out. {_LATER}"),
    errors.DatabaseUnavailable: Problem(
        503, "The database cannot be reached", f"The request was not carried out. {_LATER}"
    ),
    errors.OutcomeUnknown: Problem(
        503,
        "It is not known whether the request was carried out",
        "The database was lost during the commit. Send the request again with the same Idempotency-Key to find out.",
    ),
    errors.StoreInactive: Problem(
        503,
        "This is a copy of the ledger that takes no payments",
        "Send the request to the active service; this one takes payments only after an operator activates its store.",
    ),
    errors.TooManyWaiting: Problem(
        429,
        "Too many payments of the user are waiting",
        "User {account_id} has {waiting_max} payments that have not ended; send the request again when one has ended.",
    ),
    ProcessBusy: Problem(503, "The service is busy", f"Too many requests are under way. {_LATER}"),
    ReadsBusy: Problem(503, "The service is busy", f"Too many reads are waiting. {_LATER}"),
    StreamSetAside: Problem(
        503,
        "This user's data needs an operator",
        "Payments continue, and the balance route still reads the events. Tell the operator: `payment-ledger status`"
        " names the event.",
    ),
    DemoGatewayUnavailable: Problem(
        503, "The demo gateway does not answer", "Start it with `payment-ledger gateway`, and send the request again."
    ),
    # the service's own errors
    errors.LedgerError: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    InternalError: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    errors.CommandFailed: Problem(500, "Something went wrong inside", "Tell the operator the request_id."),
    settings.SettingsError: Problem(500, "The service's settings are wrong", _BROKEN),
    errors.StoreBroken: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaMissing: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaOlder: Problem(500, "The store cannot be used", _BROKEN),
    errors.SchemaNewer: Problem(500, "The store cannot be used", _BROKEN),
    OlderPartsAlive: Problem(500, "The store cannot be used", _BROKEN),
    errors.RoleMissing: Problem(500, "The store cannot be used", _BROKEN),
    PartitionsDiffer: Problem(500, "The store cannot be used", _BROKEN),
    errors.StoreRetired: Problem(500, "The store cannot be used", _BROKEN),
    errors.SessionRefused: Problem(500, "The store cannot be used", _BROKEN),
    errors.PoolerSharesSessions: Problem(500, "The store cannot be used", _BROKEN),
    errors.PostgresTooOld: Problem(500, "The store cannot be used", _BROKEN),
    errors.DatabaseEncodingWrong: Problem(500, "The store cannot be used", _BROKEN),
    errors.DatabaseNotDurable: Problem(500, "The store cannot be used", _BROKEN),
    errors.NumbersUsedUp: Problem(500, "The store cannot be used", _BROKEN),
    errors.LogBroken: Problem(500, "The store cannot be used", _BROKEN),
}
"""The answer to each class of error.

A test proves that each error that a request can meet has its own row. Any other error, such as one that ends a process
at its start, has the row of its parent class.
"""


CODES: Final = tuple(sorted(error.code for error in PROBLEMS))
"""Every code that an answer can have. Programs branch on it."""


def problem_for(error: type[errors.LedgerError]) -> Problem:
    """Return the row of a class of error, or that of its nearest parent class with a row."""
    return next(PROBLEMS[cls] for cls in error.__mro__ if cls in PROBLEMS)
