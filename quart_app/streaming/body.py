"""A request body as a bounded hand-over between the server and the handler."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from quart.wrappers.request import Body

from quart_app.errors import BodyTooShort, ClientDisconnected, ClientStalled, TooLarge
from quart_app.models import KIB
from quart_app.streaming.pieces import CHUNK_OVERHEAD

if TYPE_CHECKING:
    from collections.abc import Generator

    from quart_app.errors import BodyError

__all__ = ["HAND_OVER_SIZE", "RequestBody"]

#: Bytes that wait between the server and the handler. With what the server's own queue, the
#: gathering of a piece and a write under way hold, a request stays under 4 MiB.
HAND_OVER_SIZE = 256 * KIB


class RequestBody(Body):
    """An async iterator over the body that makes the client wait when the handler is slow.

    Quart's own body takes all that the client sends (pallets/quart#152). This one lets the
    server's side wait in `put` while more than `HAND_OVER_SIZE` is held, counts the total
    against `limit` as it streams, and raises what went wrong inside the handler, after the bytes
    that came before it.

    Attributes:
        limit: Largest total in bytes, or None.
        received: Bytes that arrived so far.
        stall_timeout: Longest wait for the next bytes in seconds, or None.
        wanted: Set once the handler reads, or nobody ever will.

    Iteration raises:
        TooLarge: The byte that passes `limit` arrived, or was declared.
        BodyTooShort: The body ended before its `Content-Length`.
        ClientStalled: Nothing arrived for `stall_timeout`.
        ClientDisconnected: The client went away before the end.
    """

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        self.declared = expected_content_length
        self.limit: int | None = None
        self.received = 0
        self.stall_timeout: float | None = None
        self._chunks: deque[bytes] = deque()
        self._content: bytes | None = None
        self._held = 0
        self._ended = False
        self._error: BodyError | None = None
        self._discard_left: int | None = None
        self.wanted = asyncio.Event()
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self.limit_to(max_content_length)

    @property
    def failed(self) -> bool:
        """Whether iterating it raises, or will."""
        return self._error is not None

    @property
    def cut(self) -> bool:
        """Whether the client went away before the end."""
        return isinstance(self._error, ClientDisconnected)

    def limit_to(self, size: int | None) -> None:
        """Set the largest total; a length declared over it fails the first read.

        Args:
            size: Bytes, or None for no limit.
        """
        self.limit = size
        self._check(self.declared or 0)
        self._check(self.received)

    def _check(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            self._error = self._error or TooLarge(self.limit)

    async def __anext__(self) -> bytes:
        self.wanted.set()
        if not (self._chunks or self._error or self._ended):
            await self._arrival()
        if self._chunks:
            chunk = self._chunks.popleft()
            self._held -= len(chunk) + CHUNK_OVERHEAD
            if self._held < HAND_OVER_SIZE:
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
            raise ClientStalled(f"Nothing arrived for {self.stall_timeout:g} seconds.") from None

    def __await__(self) -> Generator[None, None, bytes]:
        return self._whole().__await__()

    async def _whole(self) -> bytes:
        if self._content is None:  # Quart has handlers ask more than once
            self._content = b"".join([chunk async for chunk in self])
        return self._content

    async def put(self, data: bytes) -> None:
        """Hand over bytes from the server; waits while the handler is behind."""
        self.append(data)
        while self._full():
            self._room.clear()
            await self._room.wait()

    def _full(self) -> bool:
        if self._ended or self._discard_left is not None:
            return False
        return self._held >= HAND_OVER_SIZE or self._error is not None

    def append(self, data: bytes) -> None:
        """Hand over bytes without waiting (Quart's test client does)."""
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
            self._chunks.append(data)
            self._held += len(data) + CHUNK_OVERHEAD
        self._changed.set()

    def set_complete(self) -> None:
        """Tell that the body has ended."""
        if self.declared is not None and self.received < self.declared:
            self.fail(BodyTooShort(f"{self.received} of {self.declared} bytes arrived."))
        self._end()

    def fail(self, error: BodyError) -> None:
        """Tell that no more will come, and why; nothing once the body has ended."""
        if not self._ended:
            self._error = self._error or error
            self._end()

    def clear(self) -> None:
        """Drop what waits to be read, or was read whole."""
        self._content = None
        self._chunks.clear()
        self._held = 0
        self._room.set()

    def abandon(self) -> None:
        """Drop the bytes that wait and all that still come, once no handler reads any more."""
        self.wanted.set()
        if self._error is not None:
            # The traceback refers to frames that hold pieces of 1 MiB, and to this body by way of
            # them: a cycle that would keep those pieces until the next garbage collection.
            self._error.__traceback__ = None
        self.clear()
        self._end()

    def _end(self) -> None:
        self._ended = True
        self._changed.set()
        self._room.set()

    async def discard(self, size: int, seconds: float) -> None:
        """Drop the rest, so that the client can send on, read its answer and keep its connection.

        A server that closes with unread data resets the connection, and the reset may destroy
        the answer on its way. Whoever calls this has answered.

        Args:
            size: Most bytes to receive and drop.
            seconds: Longest time to take.
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
