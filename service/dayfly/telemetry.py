"""Structured logs on standard error. No secret is ever in them. Not here: metrics (api/system/routes.py)."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Final

import structlog
from asgi_correlation_id import correlation_id

from dayfly.settings import Settings

_REPETITIVE: Final = frozenset(
    {
        "asyncio",
        "dayfly.api.connections",
        "dayfly.api.outages",
        "dayfly.drivers.docker.errors",
        "uvicorn.error",
    }
)
"""Loggers of which callers, or an outage, cause lines in any number."""
_MAX_KINDS: Final = 200


def configure_logging(settings: Settings) -> None:
    """Log as text or as JSON. Libraries log from warnings up, in the same form."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        add_request_id,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor = structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(),
        exception_formatter=structlog.dev.plain_traceback,  # the default shows local variables, which hold secrets
    )
    if settings.log_format == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.addFilter(RepetitionFilter())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # The pool logs a traceback for each connection that breaks; the connection's user logs one line already.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    # Not uvicorn's lines: at its end it promises that Ctrl-C forces it, and Dayfly handles the signals.
    logging.getLogger("dayfly").setLevel(settings.log_level.upper())


def configure_command_logging() -> None:
    """For a command that prints its failures itself: only Dayfly's own errors are logged, on standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def add_request_id(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the request's id to each line that is logged during a request."""
    if (request_id := correlation_id.get()) is not None:
        line.setdefault("request_id", request_id)
    return line


class RepetitionFilter(logging.Filter):
    """Logs the same message of _REPETITIVE at most `maximum` times in `seconds`; the last one says so.

    asyncio logs a traceback for each connection that it cannot accept, hundreds in a second without a free file.
    """

    def __init__(
        self, maximum: int = 5, seconds: float = 30.0, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._maximum, self._seconds, self._monotonic = maximum, seconds, monotonic
        self._seen: dict[str, tuple[float, int]] = {}
        """Message → when its time began, and how often it was logged since."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to log it; changes the last one before silence."""
        if record.name not in _REPETITIVE:
            return True
        # structlog hands the event over as a dictionary.
        fields = dict(record.msg) if isinstance(record.msg, dict) else None
        message = str(record.msg if fields is None else fields.get("event"))
        # asyncio's further lines name the connection or task.
        kind = f"{message.partition(chr(10))[0]} {record.exc_info and record.exc_info[0]}"
        now = self._monotonic()
        began, number = self._seen.get(kind, (now, 0))
        if now - began >= self._seconds:
            began, number = now, 0
        if kind not in self._seen and len(self._seen) >= _MAX_KINDS:
            self._seen.clear()
        self._seen[kind] = (began, number + 1)
        if number + 1 == self._maximum:
            last = f"{message} (more of these are not logged for {self._seconds:g} s)"
            record.msg = last if fields is None else {**fields, "event": last}
        return number < self._maximum
