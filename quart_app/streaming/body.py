"""A request body as a bounded hand-over queue between the server and the handler."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from quart.wrappers.request import Body

from quart_app.errors import BodyTooShort, ClientDisconnected, ClientStalled, TooLarge
from quart_app.models import KIB
from quart_app.streaming.backlog import Backlog
from quart_app.streaming.problems import as_http_error

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from quart_app.errors import BodyError

__all__ = ["HAND_OVER_SIZE", "RequestBody"]

#: Capacity of the hand-over queue in bytes. A request uses less than 4 MiB in total: this queue,
#: the queue of the server, the piece that is being collected and the piece that is being written.
HAND_OVER_SIZE = 256 * KIB


class RequestBody(Body):
    """An async iterator over the body, with backpressure on the client when the handler is slow.

    Quart's body buffers everything that the client sends (pallets/quart#152). In this class, `put`
    waits while the queue holds more than `HAND_OVER_SIZE`. The total size is checked against
    `limit` while the body streams. The handler first receives the bytes that arrived before an
    error, and then the error is raised in the handler.

    Awaiting the body reads the whole body. The content then stays readable until `clear` is called:
    by further awaits, and by any number of iterations, each from the beginning. All tasks that
    await the body at the same time receive the content. A cancelled await loses no bytes: the next
    reader receives them first.

    Attributes:
        limit: Maximum total size in bytes, or None.
        received: Number of bytes received so far.
        stall_timeout: Maximum wait for the next bytes in seconds, or None.
        trailers: Trailer fields received after the body; complete once iteration ends.
        wanted: Set when the handler first reads, or when it is certain that no handler will read.

    Reading raises errors that are also Werkzeug errors (`quart_app.streaming.problems`):
        TooLarge: The body, or its declared length, exceeds `limit`.
        BodyTooShort: The body ended before its `Content-Length`.
        ClientStalled: No bytes arrived for `stall_timeout` seconds.
        ClientDisconnected: The client disconnected before the end of the body.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self.declared = expected_content_length
        self.limit: int | None = None
        self.received = 0
        self.stall_timeout: float | None = None
        self.trailers: list[tuple[bytes, bytes]] = []
        self._waiting: Backlog[bytes] = Backlog(HAND_OVER_SIZE)
        self._whole = _Whole()
        self._ended = False
        self._error: BodyError | None = None
        self._discard_left: int | None = None
        self.wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.limit_to(max_content_length)

    @property
    def failed(self) -> bool:
        """Whether reading the body to the end raises an error."""
        return self._error is not None

    @property
    def cut(self) -> bool:
        """Whether the client disconnected before the end of the body."""
        return isinstance(self._error, ClientDisconnected)

    def limit_to(self, size: int | None) -> None:
        """Set the maximum total size. If the declared length exceeds it, the next read fails.

        Args:
            size: Size in bytes, or None for no limit.
        """
        self.limit = size
        self._check(self.declared or 0)
        self._check(self.received)

    def _check(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            self._set_error(TooLarge(self.limit))

    def _set_error(self, error: BodyError) -> None:
        self._error = self._error or as_http_error(error)

    def __aiter__(self) -> Any:
        self.wanted.set()
        return self if self._whole.content is None else self._whole.replay()

    async def __anext__(self) -> bytes:
        self.wanted.set()
        return self._whole.take() or await self._next()

    async def _next(self) -> bytes:
        if not (self._waiting or self._error or self._ended):
            await self._arrival()
        if self._waiting:
            chunk = self._waiting.pop()
            if not self._waiting.full:
                self._room.set()
            return chunk
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def _arrival(self) -> None:
        self._changed.clear()
        try:
            async with asyncio.timeout(self.stall_timeout):
                await self._changed.wait()
        except TimeoutError:
            detail = f"Nothing arrived for {self.stall_timeout:g} seconds."
            raise as_http_error(ClientStalled(detail)) from None

    def __await__(self) -> Generator[None, None, bytes]:
        self.wanted.set()
        return self._read_content(self._whole).__await__()

    async def _read_content(self, collected: _Whole) -> bytes:
        async with collected.lock:
            while collected.content is None:
                try:
                    collected.unread += await self._next()
                except StopAsyncIteration:
                    collected.content = collected.unread = bytes(collected.unread)
        return collected.content

    async def put(self, data: bytes) -> None:
        """Add bytes from the server to the queue, and wait while the queue is full."""
        self.append(data)
        while self._full():
            self._room.clear()
            await self._room.wait()

    def _full(self) -> bool:
        if self._ended or self._discard_left is not None:
            return False
        return self._waiting.full or self._error is not None

    def append(self, data: bytes) -> None:
        """Add bytes to the queue without waiting, as Quart's test client does."""
        if not data or self._ended:
            return
        self.received += len(data)
        if self._discard_left is not None:
            self._discard_left -= len(data)
            if self._discard_left < 0:
                self._end()
            return
        self._check(self.received)
        if self._error is None:
            self._waiting.push(data)
        self._changed.set()

    def set_complete(self) -> None:
        """Mark the end of the body. A body shorter than its declared length fails."""
        if self.declared is not None and self.received < self.declared:
            self.fail(BodyTooShort(f"{self.received} of {self.declared} bytes arrived."))
        self._end()

    def fail(self, error: BodyError) -> None:
        """End the body with an error. No effect if the body has already ended."""
        if not self._ended:
            self._set_error(error)
            self._end()

    def clear(self) -> None:
        """Drop the queued bytes, and the content that an await has read.

        Tasks that already await the content still receive the content.
        """
        self._whole = _Whole()
        self._waiting.clear()
        self._room.set()

    def abandon(self) -> None:
        """Drop the queued bytes and all later bytes, because no reader is left."""
        self.wanted.set()
        if self._error is not None:
            # The frames of the traceback refer to pieces of 1 MiB and to this body. This reference
            # cycle would keep the pieces in memory until the next garbage collection.
            self._error.__traceback__ = None
        self.clear()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()
        self._room.set()

    async def discard(self, size: int, seconds: float) -> None:
        """Receive and drop the rest of the body, after the response has been sent.

        The client can then finish sending, read the response and keep its connection. A server that
        closes a connection with unread data resets the connection, and the client may then lose
        the response.

        Args:
            size: Maximum number of bytes to receive and drop.
            seconds: Maximum duration.
        """
        self._discard_left = size
        self.clear()
        try:
            async with asyncio.timeout(seconds):
                while not self._ended:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self.abandon()


class _Whole:
    """The content of a body, as collected by an await.

    Attributes:
        content: The content when it is complete, else None.
        unread: Bytes that awaits have collected and that no iteration has received.
    """

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.content: bytes | None = None
        self.unread: bytes | bytearray = bytearray()

    def take(self) -> bytes:
        """Return and remove the unread bytes."""
        unread, self.unread = bytes(self.unread), bytearray()
        return unread

    async def replay(self) -> AsyncGenerator[bytes]:
        """Iterate over the complete content."""
        if self.content:
            yield self.content
