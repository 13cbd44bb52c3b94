"""A request body as a bounded hand-over between the server and the handler."""

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

#: Bytes that wait between the server and the handler. With what the server's own queue, the
#: gathering of a piece and a write under way hold, a request stays under 4 MiB.
HAND_OVER_SIZE = 256 * KIB


class RequestBody(Body):
    """An async iterator over the body that makes the client wait when the handler is slow.

    Quart's own body takes all that the client sends (pallets/quart#152). With this class the
    server's side waits in `put` while more than `HAND_OVER_SIZE` is held, the total is counted
    against `limit` as it streams, and errors are raised inside the handler, after the bytes that
    came before them.

    Awaiting the body reads it whole. The content then stays readable until `clear`: by another
    await, and by any number of iterations, each from the beginning. Tasks that await at the same
    time all receive the content. A cancelled await loses nothing: the bytes that it had read are
    the first that the next reader receives.

    Attributes:
        limit: Largest total in bytes, or None.
        received: Bytes that arrived so far.
        stall_timeout: Longest wait for the next bytes in seconds, or None.
        trailers: Trailer fields that arrived behind the body; complete once iteration ends.
        wanted: Set once the handler reads, or no handler will ever read.

    Reading raises errors that are also Werkzeug's (`quart_app.streaming.problems`):
        TooLarge: The byte that passes `limit` arrived, or was declared.
        BodyTooShort: The body ended before its `Content-Length`.
        ClientStalled: Nothing arrived for `stall_timeout`.
        ClientDisconnected: The client disconnected before the end.
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
        """Whether reading to the end raises."""
        return self._error is not None

    @property
    def cut(self) -> bool:
        """Whether the client disconnected before the end."""
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
        return self._read_whole(self._whole).__await__()

    async def _read_whole(self, whole: _Whole) -> bytes:
        async with whole.lock:
            while whole.content is None:
                try:
                    whole.unread += await self._next()
                except StopAsyncIteration:
                    whole.content = whole.unread = bytes(whole.unread)
        return whole.content

    async def put(self, data: bytes) -> None:
        """Hand over bytes from the server; waits while the handler is behind."""
        self.append(data)
        while self._full():
            self._room.clear()
            await self._room.wait()

    def _full(self) -> bool:
        if self._ended or self._discard_left is not None:
            return False
        return self._waiting.full or self._error is not None

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
            self._waiting.push(data)
        self._changed.set()

    def set_complete(self) -> None:
        """End the body; one that is shorter than declared fails."""
        if self.declared is not None and self.received < self.declared:
            self.fail(BodyTooShort(f"{self.received} of {self.declared} bytes arrived."))
        self._end()

    def fail(self, error: BodyError) -> None:
        """End the body with an error; no effect once the body has ended."""
        if not self._ended:
            self._set_error(error)
            self._end()

    def clear(self) -> None:
        """Drop the bytes that wait, and the content that was read whole.

        Tasks that already await the content still receive it.
        """
        self._whole = _Whole()
        self._waiting.clear()
        self._room.set()

    def abandon(self) -> None:
        """Drop the bytes that wait and those that still come: no reader is left."""
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


class _Whole:
    """The content of a body that is read whole.

    Attributes:
        content: The content, once it is complete.
        unread: Bytes that awaits have read, and that an iteration under way has not received.
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
