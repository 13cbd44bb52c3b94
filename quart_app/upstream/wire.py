"""A full-duplex connection with backpressure in both directions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from socket import MSG_PEEK
from typing import TYPE_CHECKING, cast

from quart_app.models import KIB
from quart_app.streaming import Backlog, unacknowledged

if TYPE_CHECKING:
    from collections.abc import Iterable
    from socket import socket

__all__ = ["READ_AHEAD_SIZE", "Wire"]

#: Size of the receive queue in bytes at which receiving is paused.
READ_AHEAD_SIZE = 256 * KIB

#: Size of the send buffer in bytes at which writers wait.
WRITE_BEHIND_SIZE = 128 * KIB

#: Progress checks per time-out during a write.
CHECKS_PER_TIMEOUT = 4

#: Maximum number of reads of data that a broken connection has left in the kernel.
SALVAGED_READS = 4


class Wire(asyncio.Protocol):
    """One connection with awaitable reads and writes.

    A wait times out when the peer makes no progress. The total duration is not limited.

    Args:
        twin: A duplicate of the connection's socket, which becomes the wire's own once connected.
            A server may answer and close without reading all; the write that then fails would
            have asyncio throw away the answer that is still in the kernel.
        timeout: Longest wait without progress in seconds.
        encrypted: What is left in the kernel is of no use.

    Attributes:
        heard: Something has arrived since it was last taken into use.
        reused: It has been at rest and taken into use again.
    """

    def __init__(self, twin: socket, timeout: float, *, encrypted: bool) -> None:
        self.timeout = timeout
        self._twin = twin
        self._encrypted = encrypted
        self._chunks: Backlog[bytes] = Backlog(READ_AHEAD_SIZE)
        self._ended = False
        self._paused = False
        self._error: BaseException | None = None
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._patience: asyncio.Timeout | None = None
        self._patient = False
        self._resting = False
        self.heard = False
        self.reused = False

    # Methods that the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Store the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_BEHIND_SIZE)

    def data_received(self, data: bytes) -> None:
        """Queue bytes until they are read."""
        self.heard = True
        if self._resting:  # an idle connection expects no data
            self.close()
            return
        self._chunks.push(data)
        if self._chunks.full and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._arrived.set()

    def eof_received(self) -> None:
        """Let the transport close: nobody answers a request after its end."""
        self._ended = True
        self._arrived.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Wake readers and writers."""
        if error is not None and not self._ended and not self._encrypted:
            self._salvage()
        self._end(error)

    def pause_writing(self) -> None:
        """Make writers wait."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Let writers continue."""
        self._writable.set()

    # Methods that the owner calls.

    async def read(self) -> bytes:
        """Return the next chunk, and wait if none has arrived. Return `b""` at the end.

        Raises:
            TimeoutError: Nothing came for `timeout`.
            OSError: The connection broke.
            BaseException: As `fail` was told.
        """
        if not self._chunks:
            await self._arrival()
        if self._chunks:
            return self._next()
        if self._error is not None:
            raise self._error
        return b""

    def _next(self) -> bytes:
        chunk = self._chunks.pop()
        if self._paused and not self._chunks.full and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()
        return chunk

    async def _arrival(self) -> None:
        async with asyncio.timeout(None) as self._patience:
            self.be_patient(self._patient)
            while not (self._chunks or self._ended):
                self._arrived.clear()
                await self._arrived.wait()

    def be_patient(self, patient: bool) -> None:
        """Say whether a reader waits without a limit: the other side has not been told all."""
        self._patient = patient
        if self._patience is not None and not self._patience.expired():
            when = None if patient else asyncio.get_running_loop().time() + self.timeout
            with suppress(RuntimeError):  # its block has ended
                self._patience.reschedule(when)

    async def write(self, pieces: Iterable[bytes]) -> None:
        """Write, and wait while the send buffer is full.

        Raises:
            TimeoutError: The other side took nothing for `timeout`.
            ConnectionError: The connection is closed.
        """
        if self._ended or self._transport.is_closing():
            raise ConnectionResetError("The other side has closed the connection.")
        self._transport.writelines(pieces)
        while not self._writable.is_set():
            await self._progress()
        if self._error is not None:
            raise self._error

    async def _progress(self) -> None:
        before = self._unsent()
        for _ in range(CHECKS_PER_TIMEOUT):
            with suppress(TimeoutError):
                async with asyncio.timeout(self.timeout / CHECKS_PER_TIMEOUT):
                    await self._writable.wait()
            if self._writable.is_set() or self._unsent() != before:
                return
        raise TimeoutError

    def _unsent(self) -> int:
        return self._transport.get_write_buffer_size() + unacknowledged(self._twin)

    def fail(self, error: BaseException) -> None:
        """Abort the connection, and raise `error` in the reader."""
        self._error = self._error or error
        self._chunks.clear()
        self.close()

    def close(self) -> None:
        """Abort the connection and drop unsent bytes."""
        self._transport.abort()
        self._end(None)

    @property
    def ended(self) -> bool:
        """Whether no more bytes can arrive."""
        return self._ended

    def rest(self) -> bool:
        """Have nothing come from now on, or the connection close; tell whether it is fit for it."""
        self._resting = self._is_quiet()
        return self._resting

    def wake(self) -> bool:
        """Take it into use again; tell whether it still is as it was left."""
        self._resting, self.heard, self.reused = False, False, True
        return self._is_quiet()

    def _is_quiet(self) -> bool:
        if self._ended or self._chunks or self._transport.is_closing():
            return False
        if self._transport.get_write_buffer_size():
            return False
        try:
            self._twin.recv(1, MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            pass
        return False  # data, end of stream or an error

    def _end(self, error: BaseException | None) -> None:
        self._error = self._error or error
        self._ended = True
        self._twin.close()
        self._arrived.set()
        self._writable.set()

    def _salvage(self) -> None:
        with suppress(OSError, ValueError):
            for _ in range(SALVAGED_READS):
                if data := self._twin.recv(READ_AHEAD_SIZE):
                    self._chunks.push(data)
