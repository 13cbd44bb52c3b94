"""A connection that hands on what arrives uncopied, knows what is unsent, and does end."""

from __future__ import annotations

import asyncio
import math
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, ClassVar, cast

from hypercorn.asyncio.tcp_server import TCPServer
from hypercorn.events import Closed, RawData, Updated

from quart_app.models import KIB, MIB, ByteRange
from quart_app.server.http1 import Http1
from quart_app.server.http2 import Http2
from quart_app.server.intake import Intake
from quart_app.server.sendfile import FileData, send_file
from quart_app.server.stream import ConnectionState
from quart_app.streaming import OUT_OF_DESCRIPTORS, read_range, unacknowledged

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypercorn.events import Event
    from hypercorn.typing import LifespanState

    from quart_app.server.sendfile import Sending
    from quart_app.server.stream import Stream

__all__ = ["Connection"]

#: How long a closing connection may make no progress with what is still unsent.
CLOSE_PATIENCE_SECONDS = 10.0

#: Bytes of answers that a connection may be closed on before its client has taken them.
UNTAKEN_SIZE = 64 * KIB

#: How often it is looked after while it takes more.
SIGN_SECONDS = 0.5

#: How long what it says counts, with nothing unsent.
LONGEST_PARTING_SECONDS = 600.0

#: Time after which a half-closed client that is sent nothing is taken for disconnected, in
#: seconds; see `Connection.half_closed_timeout`.
HALF_CLOSED_SECONDS = 5.0

#: How long a client that still sends may take to see that the connection is closing.
LINGER_SECONDS = 2.0

#: How much such a client may send meanwhile.
LINGER_SIZE = 8 * MIB

#: How long a connection without a request stays open once the service stops: the next request
#: may be on its way.
LAST_CALL_SECONDS = 1.0

#: Bytes parsed at once: of the smallest frames or headers, they hold enough to block the loop for
#: some time.
TURN_SIZE = 32 * KIB


class Connection(TCPServer):
    """Hypercorn's connection over an `Intake`.

    Stock Hypercorn takes a client that has sent all it will for one that is gone, resets
    connections on which something unread is left or will come, and waits without end for a closing
    connection to flush to a client that reads no more.

    Attributes:
        half_closed_timeout: Time without progress after which a client that has closed its sending
            side is taken for disconnected, in seconds; None for never. Progress is a byte of the
            answer that is written or acknowledged, or a part of the request that the application
            receives.
    """

    half_closed_timeout: ClassVar[float | None] = HALF_CLOSED_SECONDS

    _running: ClassVar[dict[Connection, asyncio.Task[None]]] = {}

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._intake = Intake(self.reader, self.writer)
        self._writes = 0
        state = ConnectionState(self.state, self._intake.gone, self.unsent)
        self.state = cast("LifespanState", state)

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

    async def protocol_send(self, event: Event) -> None:
        """Do what the protocol asks for."""
        if isinstance(event, Updated) and event.idle and self._intake.eof:
            return  # it does not wait for another request
        self._writes += 1
        if isinstance(event, FileData):
            await self._send_file(event.file)
        elif not (isinstance(event, RawData) and not event.data):  # as the end of a known length
            await super().protocol_send(event)

    async def _send_file(self, file: Sending) -> None:
        transport = self.writer.transport
        async with self.send_lock:
            try:
                transport.set_write_buffer_limits(high=0)  # so that draining empties it
                await self.writer.drain()
                transport.set_write_buffer_limits()
                if transport.is_closing():  # its number may be another connection's by now
                    raise ConnectionResetError
                await self._send_or_copy(transport.get_extra_info("socket").fileno(), file)
            except (ConnectionError, RuntimeError):
                transport.abort()  # the error was told to us alone
                await self.protocol.handle(Closed())

    async def _send_or_copy(self, connected: int, file: Sending) -> None:
        """Send a part of a file, by way of this process where no descriptor is left for it."""
        try:
            await send_file(connected, file)
        except OSError as error:
            if error.errno not in OUT_OF_DESCRIPTORS:
                raise
            rest = ByteRange(file.start + file.sent, file.start + file.size)
            async with aclosing(read_range(file.descriptor, rest)) as chunks:
                async for chunk in chunks:
                    self.writer.write(chunk)
                    await self.writer.drain()
                    file.sent += len(chunk)

    async def _idle_timeout(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.config.keep_alive_timeout):
                await self.context.terminated.wait()
                await asyncio.sleep(LAST_CALL_SECONDS)
        protocol = self.protocol.protocol
        if isinstance(protocol, Http2):
            await protocol.say_farewell()
            await self._until_taken(self._signs(protocol))
        else:
            await self._until_taken(self.unsent)
        await asyncio.shield(self._initiate_server_close())

    def _signs(self, protocol: Http2) -> Callable[[], object]:
        """Tell of a client that has up to half a window to take of streams that are over here."""
        clock = asyncio.get_running_loop().time
        end = clock() + LONGEST_PARTING_SECONDS

        def signs() -> object:
            said = self._intake.received if clock() < end else None
            return protocol.untaken > UNTAKEN_SIZE and (self.unsent(), said)

        return signs

    async def _until_taken(self, untaken: Callable[[], object]) -> None:
        """Let a slow client read on while something is untaken; cut one that has stopped.

        To what it says meanwhile, a closed socket is a reset, which takes from it what the kernel
        still has to send; and loops cut what a closing TLS has not sent within 30 s.
        """
        quiet, last = 0.0, None
        while quiet < CLOSE_PATIENCE_SECONDS and self._lasts and (now := untaken()):
            quiet, last = (quiet + SIGN_SECONDS if now == last else 0.0), now
            await self._await_loss(SIGN_SECONDS)
        if self._lasts and self.unsent():
            self._abort()

    async def _read_data(self) -> None:
        try:
            while data := await self._intake.read():
                await self._take(data)
            protocol = self.protocol.protocol
            if self._lasts and isinstance(protocol, Http1) and (stream := protocol.end()):
                await self._until_disconnected(stream)
        finally:
            await self.protocol.handle(Closed())
            # Else a connection that its client has closed stays until it was idle for long.
            await self.idle_task.stop()

    async def _until_disconnected(self, stream: Stream) -> None:
        """Wait until a half-closed client is disconnected, or is taken for it.

        A FIN is all that arrives of a client that closed its connection, and of one that closed
        its sending side only. The first resets the connection once something is sent to it. So a
        client that takes bytes of its answer may read on, and one that is sent nothing for
        `half_closed_timeout` is disconnected.
        """
        limit = math.inf if self.half_closed_timeout is None else self.half_closed_timeout
        quiet, last = 0.0, None
        while self._lasts and quiet < limit:
            now = None if self._is_sending else (self._writes, len(stream.inbox))
            quiet, last = (quiet + SIGN_SECONDS if now and now == last else 0.0), now
            await self._await_loss(SIGN_SECONDS)
        self._abort()
        await self._intake.lost.wait()

    @property
    def _is_sending(self) -> bool:
        return self.send_lock.locked() or self.unsent() > 0

    async def _take(self, data: bytes) -> None:
        start = 0
        while start < len(data) and self._lasts:
            protocol = self.protocol.protocol  # which another may replace
            in_body = isinstance(protocol, Http1) and protocol.in_body
            turn = data[start:] if in_body else data[start : start + TURN_SIZE]
            await self.protocol.handle(RawData(turn))
            start += len(turn)
            await asyncio.sleep(0)

    def unsent(self) -> int:
        """Give the bytes written to this connection that its client has not acknowledged."""
        transport = self.writer.transport
        return transport.get_write_buffer_size() + unacknowledged(
            transport.get_extra_info("socket")
        )

    @property
    def _lasts(self) -> bool:
        return not self._intake.lost.is_set()

    async def _await_loss(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._intake.lost.wait()

    async def _close(self) -> None:
        try:
            await self._linger()
            await self._end()
        finally:
            self._abort()
            await self.idle_task.stop()

    async def _initiate_server_close(self) -> None:
        await self.protocol.handle(Closed())
        await self._end()

    async def _end(self) -> None:
        """Close; by force once nothing moves, or all is taken and TLS waits for a farewell.

        Loops wait 30 s for that, and a client whose connection rests in a pool gives none.
        """
        self._close_writer()
        await self._until_taken(self.unsent)
        await self._await_loss(LINGER_SECONDS)
        self._abort()

    def _abort(self) -> None:
        if self._lasts:
            self.writer.transport.abort()

    def _close_writer(self) -> None:
        # A second time, asyncio's TLS transport forgets its protocol, and can abort no more.
        if not self.writer.is_closing():
            self.writer.close()

    async def _linger(self) -> None:
        """Let a client read its answer that still sends, or is slow: closing now may reset it."""
        protocol = getattr(self, "protocol", None) and self.protocol.protocol
        if self._intake.eof or self.writer.is_closing() or not isinstance(protocol, Http1):
            return
        late = self.unsent() > UNTAKEN_SIZE
        if late or protocol.sending:
            # A loop says so of a TLS transport, which cannot be half closed, and of a lost one.
            with suppress(OSError, RuntimeError):
                self._intake.drop(LINGER_SIZE)
                self.writer.write_eof()
                async with asyncio.timeout(LINGER_SECONDS):
                    await self._intake.dropped()
        if late:
            await self._until_taken(self.unsent)
