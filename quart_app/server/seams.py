"""Where Hypercorn is made to use this room's classes: the one place that touches it."""

from __future__ import annotations

import importlib
from typing import Any

from hypercorn.asyncio.worker_context import EventWrapper, WorkerContext

from quart_app.server.connection import HALF_CLOSED_SECONDS, Connection
from quart_app.server.http1 import Http1
from quart_app.server.http2 import Buffer, Http2
from quart_app.server.stream import Stream
from quart_app.server.websocket import WebSocket

__all__ = ["SEAMS", "Replacement", "fix_hypercorn"]

#: Module and name at which Hypercorn looks a class up, and the subclass that takes its place.
SEAMS: tuple[tuple[str, str, type], ...] = (
    ("hypercorn.asyncio.run", "TCPServer", Connection),
    ("hypercorn.protocol", "H11Protocol", Http1),
    ("hypercorn.protocol", "H2Protocol", Http2),
    ("hypercorn.protocol.h2", "HTTPStream", Stream),
    ("hypercorn.protocol.h2", "WSStream", WebSocket),
    ("hypercorn.protocol.h2", "StreamBuffer", Buffer),
)


class Replacement:
    """Makes objects of a subclass on asyncio, and of Hypercorn's class in its trio worker.

    Both workers of one process look classes up in the same modules.

    Args:
        stock: Hypercorn's class.
        ours: Its subclass, which needs asyncio.
    """

    def __init__(self, stock: type, ours: type) -> None:
        self.stock = stock
        self.ours = ours

    def __call__(self, *args: Any) -> Any:
        """Make an object; its arguments hold the worker's context or its class of events."""
        on_asyncio = any(isinstance(arg, WorkerContext) or arg is EventWrapper for arg in args)
        return (self.ours if on_asyncio else self.stock)(*args)


def fix_hypercorn(*, half_closed_timeout: float | None = HALF_CLOSED_SECONDS) -> None:
    """Make Hypercorn's asyncio worker in this process serve big transfers right.

    Args:
        half_closed_timeout: Time after which a client that has closed its sending side, and is
            sent nothing, is taken for disconnected, in seconds; None for never.

    Raises:
        RuntimeError: This Hypercorn is not built as the ones known here.
    """
    Connection.half_closed_timeout = half_closed_timeout
    modules = {module_name: importlib.import_module(module_name) for module_name, _, _ in SEAMS}
    for module_name, name, ours in SEAMS:
        if _stock(getattr(modules[module_name], name, None)) not in ours.__mro__:
            raise RuntimeError(f"Hypercorn has no {module_name}.{name} to build on")
    for module_name, name, ours in SEAMS:
        stock = _stock(getattr(modules[module_name], name))
        setattr(modules[module_name], name, Replacement(stock, ours))


def _stock(found: Any) -> Any:
    return found.stock if isinstance(found, Replacement) else found
