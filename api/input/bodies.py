"""Decodes the bodies of requests, strictly: JSON in UTF-8, directly into the struct of its fields.

So an amount never becomes a float. Ids may be strings or floats of integral value. A field that is given twice is
refused, because two programs that read the body could each take another one of them. A field that is not known is
refused too, unless `STRICT_INPUT` is off: a client that sends it expects something of it.
"""

import json
import re
import types
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, ClassVar, Final, NamedTuple, NoReturn, TypeGuard, get_type_hints

import msgspec
from msgspec import NODEFAULT, Struct

from api.errors import FieldError, RequestError, RequestInvalid, RequestMalformed
from api.input.messages import plain, values_of
from api.input.nearest import UNKNOWN_MAX, advice, bare, cut

_TOO_DEEP: Final = "the body is nested too deeply"
_MISSING: Final = re.compile(r"Object missing required field `(?P<name>[^`]+)`")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(?P<name>.*)`", re.DOTALL)


class RequestBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The base of all bodies of requests, and of the items in them.

    `ELSEWHERE` says of fields that a client may expect here, by their bare names, where they belong.
    """

    ELSEWHERE: ClassVar[Mapping[str, str]] = {"idempotencykey": "send the key in the header `Idempotency-Key`"}


def decode(body: bytes, wanted: Any, *, strict: bool = True) -> Any:  # noqa: ANN401 - the type is given at run time
    """Decode JSON into a type; without `strict`, fields that it does not have are ignored.

    Raises RequestMalformed for invalid JSON or a field that is given twice, and RequestInvalid for another shape.
    """
    try:
        text = body.decode()  # msgspec does not check the encoding of strings in unknown fields
    except UnicodeDecodeError:
        raise RequestMalformed(why="the body is not in UTF-8") from None
    try:
        decoded = _decoder(wanted, strict).decode(body)
        if _may_repeat(text, wanted, decoded):
            _refuse_repeated(text)
    except RecursionError:
        raise RequestMalformed(why=_TOO_DEEP) from None
    except msgspec.ValidationError as error:
        raise _invalid(error, wanted, _fields_of(text)) from None
    except msgspec.DecodeError as error:
        _refuse_malformed(body, error)
    return decoded if strict or not _is_body(wanted) else msgspec.convert(decoded, wanted, from_attributes=True)


def _may_repeat(text: str, wanted: Any, decoded: object) -> bool:  # noqa: ANN401 - as in `decode`
    """Tell whether a body that was decoded can have a field twice.

    Each field has a colon. All required fields are there, and all that have another value than their default. A body
    with no more colons than that has each of them once. In any other body, one name must stand there twice, or may be
    written escaped. Reading all fields took 3 of the API's 38 CPU microseconds for a payment of a batch, and counting
    all names 1 (2026-11-30).
    """
    names = _names(wanted)
    if names is None:
        return True
    given = names.required + sum(getattr(decoded, name) is not default for name, default in names.optional)
    if text.count(":") <= given:
        return False
    return "\\" in text or max(map(text.count, names.quoted), default=0) > 1


class _Names(NamedTuple):
    """How many fields of a body are required, those with a constant default, and all names as JSON has them."""

    required: int
    optional: tuple[tuple[str, object], ...]
    quoted: tuple[str, ...]


@cache
def _names(wanted: Any) -> _Names | None:  # noqa: ANN401 - as in `decode`
    """Return the names of a body's fields; None for a type whose fields are not known."""
    if not _is_body(wanted):
        return None
    fields = msgspec.structs.fields(wanted)
    return _Names(
        required=sum(field.required for field in fields),
        optional=tuple((field.name, field.default) for field in fields if field.default is not NODEFAULT),
        quoted=tuple(f'"{field.encode_name}"' for field in fields),
    )


class _Repeated(NamedTuple):
    """An object in which a field is given twice, by its name."""

    name: str


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Repeated:
    """Make an object of its fields, or find the field that is given twice in it or in an object inside it.

    Objects in lists are left out: the payments of a batch are decoded one by one, and each is refused alone.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        return _Repeated(next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1))
    return next((value for value in fields.values() if type(value) is _Repeated), fields)


_FIELDS: Final = json.JSONDecoder(object_pairs_hook=_object, parse_int=str, parse_float=str)
"""Reads which fields a body has. Numbers stay text, so that no length of theirs costs time."""


def _refuse_repeated(text: str) -> object:
    """Refuse a body in which a field is given twice; msgspec takes the last one. Raises RequestMalformed."""
    fields = _FIELDS.decode(text)
    if type(fields) is _Repeated:
        raise RequestMalformed(why=f"the field {fields.name[:100]!r} is given twice")
    return fields


def _fields_of(text: str) -> object:
    """Read the fields of a body that msgspec refuses; None if it is not JSON further on, which msgspec has not read."""
    try:
        return _refuse_repeated(text)
    except RecursionError:
        raise RequestMalformed(why=_TOO_DEEP) from None
    except ValueError:
        return None


@cache
def _decoder(wanted: Any, strict: bool) -> msgspec.json.Decoder[Any]:  # noqa: ANN401, FBT001 - the type is given at run time
    return msgspec.json.Decoder(wanted if strict or not _is_body(wanted) else lenient(wanted), strict=False)


def _is_body(wanted: object) -> TypeGuard[type[RequestBody]]:
    return isinstance(wanted, type) and issubclass(wanted, RequestBody)


def lenient(wanted: type[RequestBody]) -> type[RequestBody]:
    """Make the variant of a body that ignores the fields that it does not have."""
    names = {"__doc__": wanted.__doc__, "__module__": wanted.__module__}
    made = types.new_class(
        wanted.__name__, (wanted,), {"forbid_unknown_fields": False}, lambda space: space.update(names)
    )
    assert issubclass(made, wanted), made
    return made


def _invalid(error: msgspec.ValidationError, wanted: Any, fields: object) -> RequestError:  # noqa: ANN401 - as in `decode`
    """Split msgspec's sentence, such as "Expected `int`, got `str` - at `$.user_id`", into path and message."""
    unknown = _UNKNOWN.fullmatch(str(error))
    if unknown is not None and _is_body(wanted):
        if not isinstance(fields, dict):
            return RequestMalformed(why=f"it is not JSON after the field {cut(unknown['name'])!r}")
        return RequestInvalid(errors=tuple(_unknown_fields(fields, wanted)))
    sentence, path = _split(str(error))
    missing = _MISSING.fullmatch(sentence)
    if missing is not None:
        return RequestInvalid.at(f"{path}.{missing['name']}".lstrip("."), "is missing")
    values = values_of(get_type_hints(wanted, include_extras=True).get(path)) if _is_body(wanted) else ()
    return RequestInvalid.at(path, plain(sentence, values=values))


def _split(text: str) -> tuple[str, str]:
    sentence, placed, place = text.rpartition(" - at `$")
    return (sentence, place.strip("`").removeprefix(".")) if placed else (text, "")


def _unknown_fields(given: Mapping[str, object], wanted: type[RequestBody]) -> Iterator[FieldError]:
    known = wanted.__struct_encode_fields__
    required = [field.encode_name for field in msgspec.structs.fields(wanted) if field.required]
    missing = [name for name in required if name not in given]
    for name in [name for name in given if name not in known][:UNKNOWN_MAX]:
        elsewhere = wanted.ELSEWHERE.get(bare(name))
        message = advice(name, known, given, wanted=missing, noun="field")
        yield FieldError(cut(name), message if elsewhere is None else f"unknown field; {elsewhere}")


def _refuse_malformed(body: bytes, error: msgspec.DecodeError) -> NoReturn:
    r"""Raise RequestMalformed for a body that is not JSON, RequestInvalid for half a surrogate pair (`"\ud800"`)."""
    try:
        json.loads(body.decode(), parse_constant=_no_number, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise RequestMalformed(why=str(error)) from None
    raise RequestInvalid(errors=(FieldError("", "a text contains half a surrogate pair"),)) from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)
