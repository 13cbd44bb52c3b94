"""Listening on either event loop, with an end to accepting where descriptors run out."""

from __future__ import annotations

import asyncio
import errno
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from quart_app.logs import RareWarning
from quart_app.streaming import OUT_OF_DESCRIPTORS, connections_end, is_used

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["Acceptor"]

#: Connections accepted in one turn of the loop.
TURN_COUNT = 64

#: How long connections wait in the kernel until descriptors are looked for again.
PAUSE_SECONDS = 0.1

#: What a listening socket says where a connection cannot be had for want of something.
EXHAUSTED = OUT_OF_DESCRIPTORS | {errno.ENOBUFS, errno.ENOMEM}

WARN = RareWarning(logging.getLogger("quart_app.server"), "connections wait to be accepted")


class Acceptor:
    """Accepts the connections of a listening socket; stands in for a loop's own server.

    Where no descriptor is left, asyncio's own logs a thousand lines for one connection (until
    Python 3.14 at least), and uvloop's closes all connections that wait, without a word. This one
    leaves them with the kernel for a moment. It also stops at `connections_end`, before the last
    descriptor.

    Args:
        listener: A listening socket, which becomes the acceptor's own.
        factory: Makes the protocol of a connection.
        options: For `loop.connect_accepted_socket`.

    Attributes:
        sockets: The listening socket, until closed.
    """

    def __init__(
        self,
        listener: socket.socket,
        factory: Callable[[], asyncio.BaseProtocol],
        options: dict[str, Any],
    ) -> None:
        self.sockets = [listener]
        self._factory = factory
        self._options = options
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._listener = listener
        listener.setblocking(False)
        self._loop.add_reader(listener.fileno(), self._accept)

    def close(self) -> None:
        """Stop listening; what was accepted goes on."""
        if not self.sockets:
            return
        self.sockets.clear()
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()

    async def wait_closed(self) -> None:
        """Return at once: Hypercorn itself waits for the connections that it knows."""

    def _accept(self) -> None:
        for _ in range(TURN_COUNT):
            try:
                connected, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in EXHAUSTED:
                    raise
                self._wait(repr(error))
                return
            task = self._loop.create_task(self._open(connected))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
            if connected.fileno() >= connections_end():
                self._wait()
                return

    async def _open(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        with suppress(OSError):  # the client is gone, or TLS fails
            await self._loop.connect_accepted_socket(self._factory, connected, **self._options)

    def _wait(self, cause: str = "") -> None:
        WARN(cause=cause or "only the reserve of descriptors is left")
        self._loop.remove_reader(self._listener.fileno())
        self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if is_used(connections_end()):
            self._pause = self._loop.call_later(PAUSE_SECONDS, self._go_on)
        else:
            self._loop.add_reader(self._listener.fileno(), self._accept)
