"""One subclass at Hypercorn's seam: connections that tell what is unsent, and that do end."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

import hypercorn.asyncio.run
from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Updated

from quart_app.streaming import UNSENT_EXTENSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.events import Event
    from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGISendCallable, Scope

__all__ = ["Connection", "fix_hypercorn"]

#: How long a closing connection may make no progress with what is still unsent, in seconds.
CLOSE_PATIENCE = 10.0


def fix_hypercorn() -> None:
    """Make Hypercorn's asyncio worker use `Connection` in this process."""
    hypercorn.asyncio.run.__dict__["TCPServer"] = Connection


class Connection(TCPServer):
    """A connection whose scopes carry `UNSENT_EXTENSION`, and whose end is bounded.

    Stock Hypercorn waits without end for a closing connection to flush to a client that reads no
    more: socket and task stay for ever.
    """

    _running: ClassVar[dict[Connection, asyncio.Task[None]]] = {}

    def __init__(self, app: AppWrapper, *args: Any) -> None:
        super().__init__(_Telling(app, self.unsent), *args)

    @classmethod
    def cancel_all(cls) -> None:
        """End every connection of this process, whatever is still unsent."""
        for connection, task in cls._running.items():
            task.cancel()
            connection.writer.transport.abort()

    async def run(self) -> None:
        """Serve the connection to its end."""
        self._running[self] = cast("asyncio.Task[None]", asyncio.current_task())
        try:
            # A cancelled task would have Hypercorn stop without waiting for the others, and
            # asyncio's streams log it as an error (until Python 3.12).
            with suppress(asyncio.CancelledError):
                await super().run()
        finally:
            del self._running[self]

    def unsent(self) -> int:
        """Give the bytes written to this connection that its client has not acknowledged."""
        transport = self.writer.transport
        waiting = transport.get_write_buffer_size()
        socket = transport.get_extra_info("socket")
        if sys.platform != "linux" or socket is None or socket.fileno() < 0:
            return waiting
        # SIOCOUTQ has the number of the terminal's call (tcp(7)).
        answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        return waiting + cast("int", struct.unpack("i", answer)[0])

    # Stock Hypercorn keeps a connection that its client has closed until it was idle for long.

    async def _read_data(self) -> None:
        await super()._read_data()
        await self.idle_task.stop()

    async def protocol_send(self, event: Event) -> None:
        """Pass on what the protocol says, unless it would wait for a client that is gone."""
        if not (isinstance(event, Updated) and event.idle and self.reader.at_eof()):
            await super().protocol_send(event)

    async def _close(self) -> None:
        closing = asyncio.ensure_future(super()._close())
        left = -1
        try:
            while not closing.done() and (unsent := self.unsent()) != left:
                left = unsent
                await asyncio.wait({closing}, timeout=CLOSE_PATIENCE)
        finally:
            if not closing.done():
                self.writer.transport.abort()
            await closing


class _Telling:
    """An application whose HTTP scopes tell what is unsent."""

    def __init__(self, app: AppWrapper, unsent: Callable[[], int]) -> None:
        self._app = app
        self._unsent = unsent

    async def __call__(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        if scope["type"] == "http":
            scope["extensions"][UNSENT_EXTENSION] = self._unsent  # type: ignore[assignment]
        await self._app(scope, receive, send, sync_spawn, call_soon)
