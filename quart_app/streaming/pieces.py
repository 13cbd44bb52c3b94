"""Generators over chunks: collect small chunks into large pieces, limit, copy and chain."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from quart_app.errors import TooLarge
from quart_app.models import MIB
from quart_app.streaming.backlog import CHUNK_OVERHEAD
from quart_app.streaming.threads import settled

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence

__all__ = [
    "WRITE_SIZE",
    "Piece",
    "bursts",
    "chained",
    "gathered",
    "held_back",
    "limited",
    "tee_head",
]

#: Size of a write in bytes. For 64 KiB, the switch to a thread costs more than the write itself.
WRITE_SIZE = 1 * MIB

T = TypeVar("T")

#: Consecutive chunks. The chunks are not joined, because `writev` accepts a list.
Piece: TypeAlias = "Sequence[bytes]"


async def gathered(chunks: AsyncIterable[bytes], size: int = WRITE_SIZE) -> AsyncGenerator[Piece]:
    """Collect chunks into pieces of about `size` bytes. The last piece may be smaller.

    Args:
        chunks: Source of bytes. Empty chunks are dropped.
        size: Size in bytes at which a piece is yielded, including the overhead of its chunks.

    Yields:
        Lists of chunks. The caller owns each list.
    """
    piece: list[bytes] = []
    held = 0
    async for chunk in chunks:
        if not chunk:
            continue
        piece.append(chunk)
        held += len(chunk) + CHUNK_OVERHEAD
        if held >= size:
            yield piece
            piece, held = [], 0
    if piece:
        yield piece


async def bursts(
    chunks: AsyncIterable[bytes], *, size: int, quiet_time: float
) -> AsyncGenerator[Piece]:
    """Collect the chunks that are available, and wait only while the piece is empty.

    Args:
        chunks: Source of bytes.
        size: Size in bytes at which a piece is yielded, even if more chunks are available.
        quiet_time: Seconds without a chunk after which an empty piece is yielded, once per pause.

    Yields:
        Lists of chunks. The caller owns each list.
    """
    source = aiter(chunks)
    piece: list[bytes] = []
    held = 0
    wait_timeout: float | None = quiet_time
    next_chunk = asyncio.ensure_future(_next(source))
    try:
        while True:
            # With a time-out of 0, the event loop runs once, so that available chunks arrive.
            await asyncio.wait([next_chunk], timeout=0 if piece else wait_timeout)
            if next_chunk.done():
                if next_chunk.exception() or (chunk := next_chunk.result()) is None:
                    break
                piece.append(chunk)
                held += len(chunk) + CHUNK_OVERHEAD
                next_chunk = asyncio.ensure_future(_next(source))
                wait_timeout = quiet_time
                if held < size:
                    continue
            elif not piece:
                wait_timeout = None
            yield piece
            piece, held = [], 0
        if piece:
            yield piece
        next_chunk.result()
    finally:
        next_chunk.cancel()
        await settled(next_chunk)


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


async def held_back(
    outputs: AsyncGenerator[bytes], *, size: int, hold_time: float
) -> AsyncGenerator[bytes]:
    """Delay the beginning of a stream, so that an early error is raised before the first byte.

    Args:
        outputs: Source of bytes. An empty output means that no more bytes are available for the
            moment. The generator is closed at the end.
        size: Number of delayed bytes at which the delay ends.
        hold_time: Seconds after the first byte. The first output after that ends the delay.

    Yields:
        The delayed bytes, joined, and then each output that is not empty.
    """
    time = asyncio.get_running_loop().time
    held, started_at = bytearray(), time()
    async with aclosing(outputs):
        async for output in outputs:
            started_at = started_at if held else time()
            held += output
            large = len(held) >= size
            if held and (large or not output or time() - started_at >= hold_time):
                break
        if held:
            yield bytes(held)
            held.clear()
        async for output in outputs:
            if output:
                yield output


async def limited(chunks: AsyncIterable[bytes], max_size: int) -> AsyncGenerator[bytes]:
    """Pass chunks on up to a maximum total size.

    Args:
        chunks: Source of bytes.
        max_size: Maximum total size in bytes.

    Raises:
        TooLarge: The total exceeds `max_size`. The chunk that exceeds it is not yielded.
    """
    size = 0
    async for chunk in chunks:
        size += len(chunk)
        if size > max_size:
            raise TooLarge(max_size)
        yield chunk


async def tee_head(
    chunks: AsyncIterable[bytes], head: bytearray, size: int
) -> AsyncGenerator[bytes]:
    """Pass chunks on, and copy the first `size` bytes of the stream into `head`.

    Args:
        chunks: Source of bytes.
        head: Receives the copy.
        size: Number of bytes to copy.
    """
    async for chunk in chunks:
        if len(head) < size:
            head += chunk[: size - len(head)]
        yield chunk


async def chained(head: list[T], rest: AsyncIterable[T] | None = None) -> AsyncGenerator[T]:
    """Yield the items of `head`, then those of `rest`. Items of `head` are removed when yielded."""
    head.reverse()
    while head:
        yield head.pop()
    if rest is not None:
        async for item in rest:
            yield item
