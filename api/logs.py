"""Logs of all parts of the service: one line an event on standard error, JSON for machines and plain for a terminal.

What the libraries log by `logging` comes out in the same form. No line shows a secret: passwords in URLs and connection
strings are masked wherever they stand, and tracebacks are written without the values of variables. No line rules the
terminal that shows it: control characters that a client sent are written as what they are. A log that cannot be
written, as when the terminal is gone, stops nothing.
"""

import logging
import re
import sys
from contextlib import suppress
from functools import partial
from io import StringIO
from typing import Any, Final, TextIO, cast

import msgspec
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)
_SECRETS: Final = (
    # Up to the last @ of the word: a password with an @ in it that nobody escaped is still a password.
    re.compile(r"(?P<before>://[^\s:/@]*:)[^\s/]+(?=@)"),
    re.compile(r"(?P<before>\bpassword=)(?:'(?:[^'\\]|\\.)*'|[^\s&'\"]+)", re.IGNORECASE),
)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def configure_logs(level: str, *, part: str | None = None, plain: bool | None = None) -> None:
    """Write what is at `level` (`debug`, `info`, `warning`, `error`, `critical`) or above.

    `part` is named in every line. `plain` chooses lines for people; without it, they are plain when standard error is
    a terminal.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    out = cast("TextIO", _Unbreakable(sys.stderr))
    plain = sys.stderr.isatty() if plain is None else plain
    shared: tuple[Processor, ...] = (partial(_name_part, part), *_SHARED)
    rendering: tuple[Processor, ...]
    if plain:
        console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_write_traceback)
        rendering = (_mask_values, lambda logger, name, event: mask(console(logger, name, event)))
    else:
        json = structlog.processors.JSONRenderer(serializer=_json)
        rendering = (structlog.processors.format_exc_info, _mask_values, json)
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # The libraries tell more than an operator needs; their warnings count.
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)


def _name_part(part: str | None, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if part is not None:
        event["part"] = part
    return event


def mask(text: str) -> str:
    """Hide the passwords in a text."""
    for secret in _SECRETS:
        text = secret.sub(r"\g<before>***", text)
    return text


def harmless(text: str) -> str:
    r"""Write control characters, and halves of surrogate pairs, as `\x1b` and `\ud800`; lines stay lines."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), whole)


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(harmless(text.getvalue()))


def _mask_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Before they are rendered, because escaping would hide where a quoted password ends.
    return {name: _masked(value) for name, value in event.items()}


def _masked(value: Any) -> Any:  # noqa: ANN401 - whatever was logged
    match value:
        case str():
            return harmless(mask(value))
        case dict():
            return {name: _masked(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner) for inner in value]
        case _:
            return value


def _json(event: Any, **_: Any) -> str:  # noqa: ANN401 - whatever was logged
    return mask(msgspec.json.encode(event, enc_hook=str).decode())


class _Unbreakable:
    """A stream whose reader may go away: what nobody can read any more is not worth an error."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
