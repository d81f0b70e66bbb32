"""Logs of all parts of the service: one line for each event on standard error, in JSON or, for a terminal, plain text.

Log lines of libraries that use `logging` have the same form. No line shows a secret: passwords in URLs and connection
strings are masked everywhere, and tracebacks do not show the values of variables. No line can control the terminal that
shows it: control characters from clients are escaped. A log that cannot be written, such as to a closed terminal, is
dropped without an error.
"""

import logging
import sys
from contextlib import suppress
from functools import partial
from io import StringIO
from typing import Any, Final, TextIO, cast

import msgspec
import stamina.instrumentation
import structlog
from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

from api.http.deadlines import add_request_id
from api.runtime.masking import escape_control_characters, mask

_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,  # the partition, where a process serves several
    add_request_id,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(level: str, *, part: str | None = None, plain: bool | None = None) -> None:
    """Configure the logs to write events at `level` (`debug`, `info`, `warning`, `error`, `critical`) or above.

    Every line names `part`. `plain` chooses plain text or JSON; by default, lines are plain when standard error is a
    terminal.
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
    # Libraries log more than an operator needs, so only their warnings and errors are written.
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)
    # Pools write a line for each connection that they cannot make; requests and parts have lines of their own for that.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    # stamina would write a line for each try. Those who try again write lines of their own, which are limited.
    stamina.instrumentation.set_on_retry_hooks([_note_retry])


def _note_retry(details: stamina.instrumentation.RetryDetails) -> None:
    structlog.get_logger().debug(
        "retry", number=details.retry_num, wait_seconds=round(details.wait_for, 3), because=str(details.caused_by)
    )


def _name_part(part: str | None, _: WrappedLogger, __: str, event: EventDict) -> EventDict:
    if part is not None:
        event["part"] = part
    return event


def _write_traceback(out: TextIO, exc_info: ExcInfo) -> None:
    text = StringIO()
    structlog.dev.plain_traceback(text, exc_info)
    out.write(escape_control_characters(text.getvalue()))


def _mask_values(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    # Values are masked before they are rendered, because escaping would hide where a quoted password ends.
    return {name: _masked(value) for name, value in event.items()}


def _masked(value: Any) -> Any:  # noqa: ANN401 - a logged value has any type
    match value:
        case str():
            return escape_control_characters(mask(value))
        case dict():
            return {name: _masked(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_masked(inner) for inner in value]
        case _:
            return value


def _json(event: Any, **_: Any) -> str:  # noqa: ANN401 - a logged value has any type
    return mask(msgspec.json.encode(event, enc_hook=str).decode())


class _Unbreakable:
    """A stream that ignores errors of writing, because its reader may be gone."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()
