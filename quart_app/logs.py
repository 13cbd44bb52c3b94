"""Structured logs on standard error: for people on a terminal, JSON lines otherwise."""

from __future__ import annotations

import linecache
import logging
import math
import reprlib
import sys
import threading
import time
from itertools import islice
from typing import TYPE_CHECKING, Any

import structlog
from structlog.tracebacks import extract

from quart_app.protocol.redaction import MAX_LOG_TEXT_SIZE, log_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.tracebacks import Stack, Trace

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


#: Loggers with the level that the operator sets. Others log warnings and errors only: at the level
#: `debug` the HPACK library, for one, logs every header field of every request.
LEVELLED = ("quart_app", "quart", "hypercorn", "asyncio")

#: Most fields of a log line, and most characters of their values together.
MAX_FIELDS = 32
MAX_LINE_SIZE = 8 * 1024

#: Fields that no other crowds out.
FIRST_FIELDS = {"event", "exc_info", "level", "logger", "timestamp"}

#: Most characters of a traceback, and most frames of one of its stacks.
MAX_TRACEBACK_SIZE = 8 * 1024
MAX_FRAMES = 40

#: Most bits of a number; JSON readers take longer ones for floats or refuse them.
MAX_INTEGER_BITS = 64

#: Lines between the tracebacks of two exceptions, as Python has them.
CAUSE = "The above exception was the direct cause of the following exception:"
CONTEXT = "During handling of the above exception, another exception occurred:"


def configure_logs(level: str, style: str) -> None:
    """Send this package's and its libraries' logs to standard error.

    No line holds a secret of a URL or a raw control character, and its size is bounded.

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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _bound_fields,
                structlog.processors.ExceptionRenderer(_traceback_text),
                _text_renderer() if text else structlog.processors.JSONRenderer(),
            ],
        )
    )
    wanted = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(wanted, logging.WARNING), force=True)
    for name in LEVELLED:
        logging.getLogger(name).setLevel(wanted)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    _log_uncaught()


def _text_renderer() -> structlog.dev.ConsoleRenderer:
    """Return a renderer without a traceback formatter of its own, which could print locals."""
    return structlog.dev.ConsoleRenderer(
        colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
    )


def _log_uncaught() -> None:
    """Log warnings and uncaught exceptions, which Python would print as they are."""
    log = logging.getLogger("quart_app")

    def log_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_type is not SystemExit and args.exc_value is not None:
            found = (args.exc_type, args.exc_value, args.exc_traceback)
            log.error("uncaught exception in a thread", exc_info=found)

    def log_unraisable(args: Any) -> None:
        found = (args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
        log.error("exception ignored", exc_info=found, extra={"object": args.object})

    sys.excepthook = lambda *found: log.critical("uncaught exception", exc_info=found)
    sys.unraisablehook = log_unraisable
    threading.excepthook = log_thread
    logging.captureWarnings(True)


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_LOG_TEXT_SIZE


def _bound_fields(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    left = MAX_LINE_SIZE
    bounded: dict[str, Any] = {}
    ordered = sorted(event.items(), key=lambda field: field[0] not in FIRST_FIELDS)
    for key, value in islice(ordered, MAX_FIELDS):
        if key == "exc_info":
            bounded[key] = value
            continue
        found = bounded[log_text(str(key), 64)] = _bounded(value, min(left, MAX_LOG_TEXT_SIZE))
        left = max(1, left - len(found)) if isinstance(found, str) else left
    return bounded


def _bounded(value: Any, size: int) -> Any:
    """Return a value that JSON has, bounded in size; anything else as the text of its `repr`."""
    match value:
        case str():
            return log_text(value, size)
        case None | bool():
            return value
        case int() if value.bit_length() > MAX_INTEGER_BITS:
            return f"integer of {value.bit_length()} bits"
        case int():
            return value
        case float() if math.isfinite(value):
            return value
    return log_text(_REPR.repr(value), size)


def _traceback_text(exc_info: structlog.typing.ExcInfo) -> str:
    """Return a traceback: the lines are Python's, each exception's own text is on one line."""
    kind, error, traceback = exc_info
    lines, left = [], MAX_TRACEBACK_SIZE
    for line in _trace_lines(extract(kind, error, traceback)):
        lines.append(line[:left])
        left -= len(line)
        if left <= 0:
            break
    return "\n".join(lines)


def _trace_lines(trace: Trace) -> Iterator[str]:
    for number, stack in enumerate(trace.stacks[::-1]):
        if number:  # `is_cause` belongs to the exception that came before
            yield CAUSE if trace.stacks[-number].is_cause else CONTEXT
        yield from _stack_lines(stack)


def _stack_lines(stack: Stack) -> Iterator[str]:
    yield "Traceback (most recent call last):"
    half, count = MAX_FRAMES // 2, len(stack.frames)
    for number, frame in enumerate(stack.frames):
        if half <= number < count - half:
            if number == half:
                yield f"  … {count - 2 * half} frames"
            continue
        yield f'  File "{log_text(frame.filename)}", line {frame.lineno}, in {frame.name}'
        if source := linecache.getline(frame.filename, frame.lineno).strip():
            yield f"    {log_text(source)}"
    yield log_text(f"{stack.exc_type}: {stack.exc_value}")
    for note in stack.exc_notes:
        yield f"  {log_text(note)}"
    for trace in stack.exceptions:
        yield from (f"  | {line}" for line in _trace_lines(trace))
