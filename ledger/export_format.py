"""The form of an exported log: one JSON object a line.

    {"line":"header","format":"payment-ledger export","version":1,"ledger_id":"0b9f..."}
    {"line":"event","position":1,"stream":"account-1","version":1,"topic":"account.opened","state":"{...}","digest":"9f..."}
    ...
    {"line":"end","position":1,"digest":"9f..."}

`state` is the stored bytes as a JSON string, because the seal is over these very bytes; `digest` is the event's seal,
in hex. A file without its end line was cut and is no whole log; the event of position n stands in line n + 1.
"""

from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ledger.audit_seals import SealedRow
from ledger.errors import ExportInvalid
from ledger.events import Int64

LINE_BYTES_MAX: Final = 16 * 1024 * 1024

_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class HeaderLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="header"):
    """The first line: what this is, and of which ledger."""

    format: Literal["payment-ledger export"] = "payment-ledger export"
    version: Literal[1] = 1
    ledger_id: UUID


class EventLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="event"):
    """An event, with all columns of its row."""

    position: Int64
    stream: str
    version: Int64
    topic: str
    state: str
    digest: _Digest


class EndLine(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="line", tag="end"):
    """The last line: the log's position and seal where the export ended."""

    position: Int64
    digest: _Digest


Line = HeaderLine | EventLine | EndLine

_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(Line)


def write_line(line: Line) -> bytes:
    """Write a line, its end included."""
    return _encoder.encode(line) + b"\n"


def read_line(text: bytes, *, number: int) -> Line:
    """Read a line, which counts from 1. Raises ExportInvalid when it is none, or was cut."""
    if not text.endswith(b"\n"):
        what = "it was cut" if len(text) < LINE_BYTES_MAX else f"it is longer than {LINE_BYTES_MAX} bytes"
        raise ExportInvalid(line=number, what=what)
    try:
        line: Line = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ExportInvalid(line=number, what=f"it is no line of an export: {error}") from None
    return line


def event_line(row: SealedRow) -> EventLine:
    """Write a row of the log as a line. Raises UnicodeDecodeError when its state is no text."""
    return EventLine(
        position=row.position,
        stream=row.originator_id,
        version=row.originator_version,
        topic=row.topic,
        state=row.state.decode(),
        digest=row.digest.hex(),
    )


def sealed_row(line: EventLine) -> SealedRow:
    """Read a row of the log from its line."""
    return SealedRow(
        position=line.position,
        originator_id=line.stream,
        originator_version=line.version,
        topic=line.topic,
        state=line.state.encode(),
        digest=bytes.fromhex(line.digest),
    )
