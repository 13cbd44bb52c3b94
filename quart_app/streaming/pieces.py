"""Small chunks gathered into pieces large enough to be worth a thread."""

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

#: What crosses to a thread at once: one hop per 64 KiB costs more than the write itself.
WRITE_SIZE = 1 * MIB

T = TypeVar("T")

#: Consecutive chunks, never copied together: `writev` takes them as they are.
Piece: TypeAlias = "Sequence[bytes]"


async def gathered(chunks: AsyncIterable[bytes], size: int = WRITE_SIZE) -> AsyncGenerator[Piece]:
    """Gather chunks into pieces of about `size` bytes; the last may be smaller.

    Args:
        chunks: Bytes as they arrive; empty chunks are dropped.
        size: Bytes from which a piece is handed on.

    Yields:
        Lists of chunks that are the receiver's to keep.
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
    """Gather what has arrived, and never wait for more once there is something.

    Args:
        chunks: Bytes as they arrive.
        size: Bytes from which a piece is handed on, whatever more has arrived.
        quiet_time: Seconds without a chunk of which an empty piece tells, once until the next.

    Yields:
        Lists of chunks that are the receiver's to keep.
    """
    source = aiter(chunks)
    piece: list[bytes] = []
    held = 0
    patience: float | None = quiet_time
    coming = asyncio.ensure_future(_next(source))
    try:
        while True:
            # The loop gets its turn for what is there already, and no more than that.
            await asyncio.wait([coming], timeout=0 if piece else patience)
            if coming.done():
                if coming.exception() or (chunk := coming.result()) is None:
                    break
                piece.append(chunk)
                held += len(chunk) + CHUNK_OVERHEAD
                coming = asyncio.ensure_future(_next(source))
                patience = quiet_time
                if held < size:
                    continue
            elif not piece:
                patience = None
            yield piece
            piece, held = [], 0
        if piece:
            yield piece
        coming.result()
    finally:
        coming.cancel()
        await settled(coming)


async def _next(source: AsyncIterator[bytes]) -> bytes | None:
    return await anext(source, None)


async def held_back(
    outputs: AsyncGenerator[bytes], *, size: int, hold_time: float
) -> AsyncGenerator[bytes]:
    """Hold the beginning of a stream back, so that an early error comes in place of it.

    Args:
        outputs: Bytes as they are made, an empty output where no more comes for the moment; it is
            closed at the end.
        size: Bytes from which they are passed on.
        hold_time: Seconds after the first byte from which the next output is passed on.

    Yields:
        What was held, together, and then each output that is not empty.
    """
    time = asyncio.get_running_loop().time
    held, begun = bytearray(), time()
    async with aclosing(outputs):
        async for output in outputs:
            begun = begun if held else time()
            held += output
            large = len(held) >= size
            if held and (large or not output or time() - begun >= hold_time):
                break
        if held:
            yield bytes(held)
            held.clear()
        async for output in outputs:
            if output:
                yield output


async def limited(chunks: AsyncIterable[bytes], max_size: int) -> AsyncGenerator[bytes]:
    """Pass chunks on as long as they are within a bound.

    Args:
        chunks: Bytes as they arrive.
        max_size: Bytes in all.

    Raises:
        TooLarge: They are more; the chunk that passes the bound is not passed on.
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
    """Pass chunks on, and copy the first `size` bytes of all into `head`.

    Args:
        chunks: Bytes as they arrive.
        head: Receives the copy.
        size: Bytes to copy.
    """
    async for chunk in chunks:
        if len(head) < size:
            head += chunk[: size - len(head)]
        yield chunk


async def chained(head: list[T], rest: AsyncIterable[T] | None = None) -> AsyncGenerator[T]:
    """Put what was read ahead back before the rest; `head` is emptied as it goes."""
    head.reverse()
    while head:
        yield head.pop()
    if rest is not None:
        async for item in rest:
            yield item
