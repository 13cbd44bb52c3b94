"""Where Hypercorn is made to use this room's classes: the one place that touches it."""

from __future__ import annotations

import importlib

from quart_app.server.connection import Connection
from quart_app.server.http1 import Http1
from quart_app.server.http2 import Buffer, Http2
from quart_app.server.stream import Stream
from quart_app.server.websocket import WebSocket

__all__ = ["SEAMS", "fix_hypercorn"]

#: Module and name at which Hypercorn looks a class up, and the subclass it finds there.
SEAMS = (
    ("hypercorn.asyncio.run", "TCPServer", Connection),
    ("hypercorn.protocol", "H11Protocol", Http1),
    ("hypercorn.protocol", "H2Protocol", Http2),
    ("hypercorn.protocol.h2", "HTTPStream", Stream),
    ("hypercorn.protocol.h2", "WSStream", WebSocket),
    ("hypercorn.protocol.h2", "StreamBuffer", Buffer),
)


def fix_hypercorn() -> None:
    """Make Hypercorn's asyncio worker in this process serve big transfers right.

    Raises:
        RuntimeError: This Hypercorn is not built as the ones known here.
    """
    for module_name, name, replacement in SEAMS:
        stock = getattr(importlib.import_module(module_name), name, None)
        if stock not in replacement.__mro__:
            raise RuntimeError(f"Hypercorn has no {module_name}.{name} to build on")
    for module_name, name, replacement in SEAMS:
        setattr(importlib.import_module(module_name), name, replacement)
