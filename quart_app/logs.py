"""Structured logs on standard error: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import structlog

__all__ = ["RareWarning", "configure_logs"]

#: Seconds between two lines of one `RareWarning`.
RARE_SECONDS = 10.0


class RareWarning:
    """A warning that is logged at most once in `RARE_SECONDS`, however often it is due.

    Args:
        logger: Where it is logged.
        event: Its text.
    """

    def __init__(self, logger: logging.Logger, event: str) -> None:
        self._logger = logger
        self._event = event
        self._next = 0.0
        self._left_out = 0

    def __call__(self, **details: Any) -> None:
        """Log the warning with details, and how many were left out since the last line."""
        if time.monotonic() < self._next:
            self._left_out += 1
            return
        self._next = time.monotonic() + RARE_SECONDS
        left_out, self._left_out = self._left_out, 0
        self._logger.warning(self._event, extra={**details, "left_out": left_out})


def configure_logs(level: str, style: str) -> None:
    """Send this package's and its libraries' logs to standard error.

    Args:
        level: Least important level that is logged.
        style: `text`, `json`, or `auto` for text on a terminal.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    text = style == "text" or (style == "auto" and sys.stderr.isatty())
    rendered: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer()]
        if text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(handlers=[handler], level=level.upper(), force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs, which may hold secrets
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
