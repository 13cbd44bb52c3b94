"""What arrives on a connection, handed on as it came: no second buffer, no copies."""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, cast

from quart_app.models import KIB
from quart_app.streaming import Backlog

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamReaderProtocol, StreamWriter, Transport

__all__ = ["Intake"]

#: Bytes of memory held for the protocol from which the transport stops reading.
INTAKE_SIZE = 256 * KIB

#: How often a client that is not read from is looked after.
LOOK_SECONDS = 1.0


class Intake(asyncio.Protocol):
    """Takes the place of a stream reader on a transport that is already open.

    A stream reader copies every byte into a buffer and out of it again, in pieces of at most
    64 KiB. This hands the transport's own chunks on. Half a connection may end: `eof` says that the
    client will send no more, while it may still read.

    A transport that does not read sees no end either, not even a reset. So while it is paused, the
    kernel is asked for it.

    Attributes:
        gone: Set once the client is gone; what it has sent may still wait to be read.
        lost: Set once the transport is closed.
        received: Bytes so far.

    Args:
        reader: The reader it had; what it holds comes first.
        writer: The writer of the same connection, which goes on as it was.
    """

    def __init__(self, reader: StreamReader, writer: StreamWriter) -> None:
        # A stream reader tells of its end only once all is read; tests guard the name.
        self.eof: bool = reader._eof  # type: ignore[attr-defined]  # noqa: SLF001
        self.gone = asyncio.Event()
        self.lost = asyncio.Event()
        self.received = 0
        self._next_look: asyncio.TimerHandle | None = None
        self._waiting: Backlog[bytes] = Backlog(INTAKE_SIZE)
        self._drop_left: int | None = None
        self._arrived = asyncio.Event()
        self._transport = cast("Transport", writer.transport)
        self._writer_protocol = cast("StreamReaderProtocol", self._transport.get_protocol())
        self._transport.set_protocol(self)
        reader.feed_eof()
        self._reader: StreamReader | None = reader

    async def read(self) -> bytes:
        """Give the next bytes as they came, or b"" at their end."""
        if self._reader is not None:
            early, self._reader = await self._reader.read(-1), None
            if early:
                return early
        while not (self._waiting or self.eof):
            self._arrived.clear()
            await self._arrived.wait()
        if not self._waiting:
            return b""
        was_full, chunk = self._waiting.full, self._waiting.pop()
        if was_full and not self._waiting.full:
            self._resume()
        return chunk

    def drop(self, size: int) -> None:
        """Drop up to `size` bytes more, and read none beyond; `dropped` waits for that."""
        self._drop_left = size
        was_full = self._waiting.full
        self._waiting.clear()
        if was_full:
            self._resume()

    async def dropped(self) -> None:
        """Wait until the client ends, or has sent what `drop` was told."""
        while not self.eof and (self._drop_left or 0) > 0:
            self._arrived.clear()
            await self._arrived.wait()

    def data_received(self, data: bytes) -> None:
        """Take a chunk (called by the transport)."""
        self.received += len(data)
        if self._drop_left is not None:
            self._drop_left -= len(data)
            if self._drop_left <= 0:
                self._transport.pause_reading()
            self._arrived.set()
            return
        was_full = self._waiting.full
        self._waiting.push(data)
        if self._waiting.full and not was_full:
            self._transport.pause_reading()
            self._look_later()
        self._arrived.set()

    def _resume(self) -> None:
        self._stop_looking()
        self._transport.resume_reading()

    def _look_later(self) -> None:
        self._next_look = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self._transport.is_closing():  # its number may be another connection's by now
            return
        if _is_hung_up(self._transport.get_extra_info("socket").fileno()):
            self.gone.set()
        else:
            self._look_later()

    def _stop_looking(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()

    def eof_received(self) -> bool | None:
        """See the client's end of the connection close (called by the transport)."""
        self.eof = True
        self._arrived.set()
        return self._writer_protocol.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """See the whole connection close (called by the transport)."""
        self._stop_looking()
        self.eof = True
        self.gone.set()
        self.lost.set()
        self._arrived.set()
        self._writer_protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Let writers wait (called by the transport)."""
        self._writer_protocol.pause_writing()

    def resume_writing(self) -> None:
        """Let writers go on (called by the transport)."""
        self._writer_protocol.resume_writing()


def _is_hung_up(descriptor: int) -> bool:
    """Tell whether a connection is closed both ways: reset, or at a path, closed (poll(2))."""
    look = select.poll()
    look.register(descriptor, 0)
    return bool(look.poll(0))
