"""The protocol of the demo and the chaos gateway: parses the body of a call, and encodes answers from the book.

    POST /pay             moves {payment_id, user_id, amount, commission, type} once for each Idempotency-Key
    GET /payments/{id}    answers with the outcome under that key: ok, declined, pending, or 404 not_found
    GET /effects          lists the money that moved

This module works on bytes; each gateway has its own HTTP server.
"""

import json
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Raw, Struct

from ledger.domain.identifiers import ID_MAX
from ledger.domain.kinds import PaymentKind
from ledger.domain.money import amount_from_json_number, amount_from_text
from ledger.errors import AmountInvalid
from processors.simulators.demo.scenario import Decision
from processors.simulators.demo.store import Effect, Entry, GatewayCall

BODY_BYTES_MAX: Final = 64 * 1024
EFFECTS_MAX: Final = 1000

_AMOUNT_DIGITS_MAX: Final = 18
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")
_JSON_WITH_DECIMALS: Final = msgspec.json.Encoder(decimal_format="number")

Id = Annotated[int, Meta(ge=1, le=ID_MAX)]


class PayBody(Struct, frozen=True):
    """The body of POST /pay; amounts are JSON numbers or strings of digits."""

    payment_id: Id
    user_id: Id
    amount: Raw
    commission: Raw
    type: PaymentKind


class BodyRefused(Exception):
    """The request is not valid; the text says why."""


def parse_call(body: bytes, key_header: str | None) -> GatewayCall:
    """Parse a call. Raises BodyRefused when the original's gateway would not accept it."""
    try:
        read = msgspec.json.decode(body, type=PayBody)
        amount, commission = _amount(read.amount), _amount(read.commission)
    except (msgspec.DecodeError, AmountInvalid, UnicodeDecodeError) as error:
        raise BodyRefused(str(error)) from None
    return GatewayCall(
        gateway_key=key_of(key_header, payment_id=read.payment_id),
        payment_id=read.payment_id,
        user_id=read.user_id,
        kind=read.type,
        amount=amount,
        commission=commission,
    )


def key_of(header: str | None, *, payment_id: int) -> str:
    """Return the key of a call: its Idempotency-Key without quotes, or by default that of the payment's first series.

    Raises BodyRefused when the header is not 1 to 255 printable ASCII characters.
    """
    key = (header or "").strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key:
        return f"payment-{payment_id}"
    if not _KEY.fullmatch(key):
        raise BodyRefused("Idempotency-Key must be 1 to 255 printable ASCII characters")
    return key


def truth(entry: Entry) -> bytes:
    """Encode the true answer about a key that has a decision."""
    assert entry.decision is not None, "the plan chooses a true answer only for a decided key"
    if entry.decision is Decision.DECLINED:
        return encode({"status": "declined", "payment_id": entry.payment_id})
    return encode({"status": "ok", "payment_id": entry.payment_id, "reference": f"demo-{entry.effect_number}"})


def effects_page(effects: Sequence[Effect], *, limit: int) -> bytes:
    """Encode the first `limit` of some effects; `next_after` begins the next page and is null on the last one."""
    items = [
        {
            "number": effect.number,
            "payment_id": effect.payment_id,
            "key": effect.gateway_key,
            "user_id": effect.user_id,
            "type": effect.kind,
            "amount": effect.amount,
            "commission": effect.commission,
            "at": effect.at,
        }
        for effect in effects[:limit]
    ]
    return encode({"items": items, "next_after": items[-1]["number"] if len(effects) > limit else None})


def encode(content: object) -> bytes:
    """Encode JSON, with decimals as exact numbers."""
    return _JSON_WITH_DECIMALS.encode(content)


def _amount(raw: Raw) -> Decimal:
    """Parse an exact amount from a JSON number or a string of digits. Raises AmountInvalid."""
    text = bytes(raw).decode()
    amount = amount_from_text(json.loads(text)) if text.startswith('"') else amount_from_json_number(text)
    if amount.adjusted() >= _AMOUNT_DIGITS_MAX or amount.as_tuple().exponent < -_AMOUNT_DIGITS_MAX:  # type: ignore[operator]
        raise AmountInvalid(why="it has too many digits")
    return amount
