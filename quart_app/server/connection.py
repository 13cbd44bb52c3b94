"""A connection that hands on what arrives uncopied, knows what is unsent, and does end."""

from __future__ import annotations

import asyncio
import fcntl
import struct
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData, Updated

from quart_app.models import KIB, MIB
from quart_app.server.http1 import Http1
from quart_app.server.intake import Intake
from quart_app.server.sendfile import CAN_SEND_FILES, FileData, send_file
from quart_app.server.stream import CONNECTION_STATE

if TYPE_CHECKING:
    from asyncio import StreamReaderProtocol, Transport

    from hypercorn.events import Event
    from hypercorn.typing import LifespanState

    from quart_app.streaming import FileRange

__all__ = ["Connection"]

#: How long a closing connection may make no progress with what is still unsent, in seconds.
CLOSE_PATIENCE = 10.0

#: How long a client that still sends may take to see that the connection is closing, in seconds.
LINGER_TIME = 2.0

#: How much such a client may send meanwhile.
LINGER_SIZE = 8 * MIB


#: How long a connection without a request stays open once the service stops, in seconds: the next
#: request may be on its way.
LAST_CALL_TIME = 1.0


#: Bytes parsed at once: of the smallest frames or headers, they hold enough to block the loop for
#: some time.
TURN_SIZE = 32 * KIB


class Connection(TCPServer):
    """Hypercorn's connection over an `Intake`.

    Stock Hypercorn takes a client that has sent all it will for one that is gone, resets
    connections on which something unread is left, and waits without end for a closing connection
    to flush to a client that reads no more.
    """

    _running: ClassVar[dict[Connection, asyncio.Task[None]]] = {}
    _intake: Intake | None = None

    def __init__(
        self, app: Any, loop: Any, config: Any, context: Any, state: LifespanState, *streams: Any
    ) -> None:
        state = cast("LifespanState", {**state, CONNECTION_STATE: self})
        super().__init__(app, loop, config, context, state, *streams)

    @classmethod
    def cancel_all(cls) -> None:
        """End every connection of this process, whatever is still unsent."""
        for connection, task in cls._running.items():
            task.cancel()
            connection.writer.transport.abort()

    async def run(self) -> None:
        """Serve the connection to its end."""
        self._running[self] = cast("asyncio.Task[None]", asyncio.current_task())
        transport = cast("Transport", self.writer.transport)
        protocol = cast("StreamReaderProtocol", transport.get_protocol())
        self._intake = Intake(transport, self.reader, protocol)
        try:
            # A cancelled task would have Hypercorn stop without waiting for the others, and
            # asyncio's streams log it as an error (until Python 3.12).
            with suppress(asyncio.CancelledError):
                await super().run()
        finally:
            del self._running[self]

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol asks for."""
        if isinstance(event, Updated) and event.idle and cast("Intake", self._intake).eof:
            return  # it does not wait for another request
        if isinstance(event, FileData):
            await self._send_file(event.file)
        elif not (isinstance(event, RawData) and not event.data):  # as the end of a known length
            await super().protocol_send(event)

    @property
    def sends_files(self) -> bool:
        """Whether parts of files can go to the socket as they are."""
        return CAN_SEND_FILES and self.writer.get_extra_info("sslcontext") is None

    async def _send_file(self, file: FileRange) -> None:
        transport = self.writer.transport
        async with self.send_lock:
            try:
                transport.set_write_buffer_limits(high=0)  # so that draining empties it
                await self.writer.drain()
                transport.set_write_buffer_limits()
                if transport.is_closing():  # its number may be another connection's by now
                    raise ConnectionResetError
                await send_file(transport.get_extra_info("socket").fileno(), file)
            except (ConnectionError, RuntimeError):
                transport.abort()  # the error was told to us alone
                await self.protocol.handle(Closed())

    async def _idle_timeout(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.keep_alive_timeout):
                await self.context.terminated.wait()
                await asyncio.sleep(LAST_CALL_TIME)
        await asyncio.shield(self._initiate_server_close())

    async def _read_data(self) -> None:
        intake = cast("Intake", self._intake)
        try:
            while data := await intake.read():
                await self._take(data)
            protocol = self.protocol.protocol
            if not intake.lost.is_set() and isinstance(protocol, Http1) and protocol.end():
                await intake.lost.wait()
        finally:
            await self.protocol.handle(Closed())
            # Else a connection that its client has closed stays until it was idle for long.
            await self.idle_task.stop()

    async def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data) and not cast("Intake", self._intake).lost.is_set():
            protocol = self.protocol.protocol  # which another may replace
            in_body = isinstance(protocol, Http1) and protocol.in_body
            turn = data[start:] if in_body else data[start : start + TURN_SIZE]
            await self.protocol.handle(RawData(turn))
            start += len(turn)
            await asyncio.sleep(0)

    def unsent(self) -> int:
        """Give the bytes written to this connection that its client has not acknowledged."""
        transport = self.writer.transport
        waiting = transport.get_write_buffer_size()
        socket = transport.get_extra_info("socket")
        if sys.platform != "linux" or socket is None:
            return waiting
        try:
            # SIOCOUTQ has the number of the terminal's call (tcp(7)).
            answer = fcntl.ioctl(socket.fileno(), termios.TIOCOUTQ, struct.pack("i", 0))
        except (OSError, ValueError):  # closed meanwhile
            return waiting
        return waiting + cast("int", struct.unpack("i", answer)[0])

    async def _close(self) -> None:
        intake = cast("Intake", self._intake)
        left = -1
        try:
            await self._linger()
            self._close_writer()
            while not intake.lost.is_set() and (unsent := self.unsent()) != left:
                left = unsent
                with suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_PATIENCE):
                        await intake.lost.wait()
        finally:
            if not intake.lost.is_set():
                self.writer.transport.abort()
            await self.idle_task.stop()

    async def _initiate_server_close(self) -> None:
        await self.protocol.handle(Closed())
        self._close_writer()

    def _close_writer(self) -> None:
        # A second time, asyncio's TLS transport forgets its protocol, and can abort no more.
        if not self.writer.is_closing():
            self.writer.close()

    async def _linger(self) -> None:
        """Let a client that still sends read its answer: closing now would reset it away."""
        intake = cast("Intake", self._intake)
        protocol = getattr(self, "protocol", None) and self.protocol.protocol
        if intake.eof or not (isinstance(protocol, Http1) and protocol.sending):
            return
        with suppress(NotImplementedError, OSError, RuntimeError, TimeoutError):
            self.writer.write_eof()
            async with asyncio.timeout(LINGER_TIME):
                await intake.drop(LINGER_SIZE)
