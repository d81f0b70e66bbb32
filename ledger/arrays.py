"""Lists of one kind as parameters of a statement, written in Postgres's binary form in one go.

psycopg can send any list, and so looks at each element for itself, and names the type by the largest number that it
meets, so that one statement is prepared once for small numbers and once more for large ones. A batch has some twenty
columns, and that took a fifth of all that the writer computed.
"""

import struct
from typing import Any, Final

import psycopg
from psycopg.adapt import Dumper
from psycopg.postgres import types
from psycopg.pq import Format

_HEADER: Final = struct.Struct(">iiIii")  # dimensions, whether there are nulls, element type, count, lower bound
_LENGTH: Final = struct.Struct(">i").pack
_NULL: Final = _LENGTH(-1)
_BIGINT: Final = struct.Struct(">iq").pack
_BIGINT_BYTES: Final = 8


class Bigints(list[int]):
    """A `bigint[]`."""


class Texts(list[str]):
    """A `text[]` without nulls."""


class OptionalTexts(list[str | None]):
    """A `text[]`."""


class Byteas(list[bytes]):
    """A `bytea[]` without nulls."""


class _BigintsDumper(Dumper):
    format = Format.BINARY
    oid = types["int8"].array_oid

    def dump(self, obj: Any) -> bytes:  # noqa: ANN401 - as psycopg has it
        return _header("int8", len(obj)) + b"".join([_BIGINT(_BIGINT_BYTES, number) for number in obj])


class _TextsDumper(Dumper):
    format = Format.BINARY
    oid = types["text"].array_oid

    def dump(self, obj: Any) -> bytes:  # noqa: ANN401 - as psycopg has it
        encoded = [_LENGTH(len(octets := text.encode())) + octets for text in obj]
        return _header("text", len(obj)) + b"".join(encoded)


class _OptionalTextsDumper(Dumper):
    format = Format.BINARY
    oid = types["text"].array_oid

    def dump(self, obj: Any) -> bytes:  # noqa: ANN401 - as psycopg has it
        encoded = [_NULL if text is None else _LENGTH(len(octets := text.encode())) + octets for text in obj]
        return _header("text", len(obj), nulls=None in obj) + b"".join(encoded)


class _ByteasDumper(Dumper):
    format = Format.BINARY
    oid = types["bytea"].array_oid

    def dump(self, obj: Any) -> bytes:  # noqa: ANN401 - as psycopg has it
        return _header("bytea", len(obj)) + b"".join([_LENGTH(len(octets)) + octets for octets in obj])


def _header(element: str, count: int, *, nulls: bool = False) -> bytes:
    return _HEADER.pack(1, nulls, types[element].oid, count, 1)


for _kind, _dumper in (
    (Bigints, _BigintsDumper),
    (Texts, _TextsDumper),
    (OptionalTexts, _OptionalTextsDumper),
    (Byteas, _ByteasDumper),
):
    psycopg.adapters.register_dumper(_kind, _dumper)
