"""Logs of all parts of the service: one line an event on standard error, JSON for machines and plain for a terminal.

What the libraries log by `logging` comes out in the same form. Tracebacks are written without the values of variables,
which may hold secrets.
"""

import logging
import sys
from typing import Any, Final

import msgspec
import structlog
from structlog.typing import Processor

_SHARED: Final[tuple[Processor, ...]] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
)


def configure_logs(level: str, *, plain: bool | None = None) -> None:
    """Write what is at `level` (`debug`, `info`, `warning`, `error`, `critical`) or above.

    `plain` chooses lines for people; without it, they are plain when standard error is a terminal.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    plain = sys.stderr.isatty() if plain is None else plain
    rendering: tuple[Processor, ...]
    if plain:
        rendering = (
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        )
    else:
        rendering = (structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_json))
    structlog.configure(
        processors=[*_SHARED, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    # The libraries tell more than an operator needs; their warnings count.
    logging.basicConfig(level=max(threshold, logging.WARNING), handlers=[handler], force=True)


def _json(event: Any, **_: Any) -> str:  # noqa: ANN401 - whatever was logged
    return msgspec.json.encode(event, enc_hook=str).decode()
