"""The format of an exported log: one JSON object on each line.

    {"line":"header","format":"payment-ledger export","version":1,"ledger_id":"0b9f..."}
    {"line":"event","position":1,"stream":"account-1","version":1,"topic":"account.opened","state":"{...}","digest":"9f..."}
    ... {"line":"end","position":1,"digest":"9f..."}

`state` holds the stored bytes as a JSON string, because the seal covers these exact bytes. `digest` is the event's
seal, in hex. A file without its end line was cut off and is not a complete log. The event of position n is on line n +
1.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ledger.audit.check_hash_chain import SealedRow
from ledger.domain.events import Int64
from ledger.export.errors import ExportInvalid

LINE_BYTES_MAX: Final = 16 * 1024 * 1024

_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class HeaderLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="header"):
    """The first line: the format, its version, and the ledger's id."""

    format: Literal["payment-ledger export"] = "payment-ledger export"
    version: Literal[1] = 1
    ledger_id: UUID


class EventLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="event"):
    """An event with all columns of its row."""

    position: Int64
    stream: str
    version: Int64
    topic: str
    state: str
    digest: _Digest


class EndLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="end"):
    """The last line: the position and seal of the last exported event."""

    position: Int64
    digest: _Digest


Line = HeaderLine | EventLine | EndLine

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Line)


def write_line(line: Line) -> bytes:
    """Encode a line, with its newline."""
    return _encoder.encode(line) + b"\n"


def read_line(text: bytes, *, number: int) -> Line:
    """Decode a line; `number` counts from 1. Raises ExportInvalid when it is not a line of an export or was cut off."""
    if not text.endswith(b"\n"):
        what = "it was cut off" if len(text) < LINE_BYTES_MAX else f"it is longer than {LINE_BYTES_MAX} bytes"
        raise ExportInvalid(line=number, what=what)
    try:
        line: Line = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ExportInvalid(line=number, what=f"it is not a line of an export: {error}") from None
    return line


def event_line(row: SealedRow) -> EventLine:
    """Turn a row of the log into a line. Raises UnicodeDecodeError when its state is not UTF-8."""
    return EventLine(
        position=row.position,
        stream=row.originator_id,
        version=row.originator_version,
        topic=row.topic,
        state=row.state.decode(),
        digest=row.digest.hex(),
    )


def sealed_row(line: EventLine) -> SealedRow:
    """Turn a line back into a row of the log."""
    return SealedRow(
        position=line.position,
        originator_id=line.stream,
        originator_version=line.version,
        topic=line.topic,
        state=line.state.encode(),
        digest=bytes.fromhex(line.digest),
    )
