"""Structured logs on standard error. No secret is ever in them. Not here: metrics (api/system/routes.py)."""

from __future__ import annotations

import logging
import sys

import structlog
from asgi_correlation_id import correlation_id

from dayfly.settings import Settings


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
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # The pool logs a traceback for each connection that breaks; the connection's user logs one line already.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    for ours in ("dayfly", "uvicorn.error"):
        logging.getLogger(ours).setLevel(settings.log_level.upper())


def add_request_id(_logger: object, _method: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Add the request's id to each line that is logged during a request."""
    if (request_id := correlation_id.get()) is not None:
        line.setdefault("request_id", request_id)
    return line
