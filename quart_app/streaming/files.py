"""Bytes between descriptors and streams: one write or read under way while the next is prepared."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.models import KIB, MIB
from quart_app.streaming.threads import finished, settled, start_in_thread, start_writing

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Sequence

    from quart_app.models import ByteRange
    from quart_app.streaming.pieces import Piece

__all__ = ["READ_SIZE", "FileCut", "FileRange", "read_range", "write_all", "write_pieces"]

#: Largest read, and what a quick reader is served with; one more is read ahead.
READ_SIZE = 1 * MIB

#: What a slow reader is served with: 500 of them hold a quarter of a gigabyte, not a whole.
SLOW_READ_SIZE = 128 * KIB

#: How far every reader is taken for a slow one: the kernel takes some MiB for it at once.
UNKNOWN_SIZE = 8 * MIB

#: A reader that takes longer than this over a chunk is slow.
SLOW_AFTER_SECONDS = 0.25

#: Most buffers `writev` takes at once (IOV_MAX on Linux and macOS).
MOST_BUFFERS = 1024


class FileCut(OSError):
    """A file ended before the range that was asked for."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A part of an open file, as a chunk of a response's body.

    Where the server can, its bytes go from the file to the socket without passing the process;
    elsewhere they are read as `read_range` does.

    Attributes:
        descriptor: Open for reading until the response has ended; its position is not used.
        wanted: Range in bytes, inside the file.
    """

    descriptor: int
    wanted: ByteRange

    def __len__(self) -> int:
        return self.wanted.size


async def write_pieces(
    descriptor: int,
    pieces: AsyncIterable[Piece],
    write: Callable[[int, Piece], None] | None = None,
) -> None:
    """Write pieces to a descriptor at its position, one under way while the next is gathered.

    No write is left under way on return, whatever happens.

    Args:
        descriptor: Open for writing; stays the caller's.
        pieces: Consecutive bytes.
        write: Writes one piece and blocks; `write_all` when None.

    Raises:
        OSError: As `os.writev` does, or what `write` raises.
    """
    write = write or write_all
    job: asyncio.Future[None] | None = None
    try:
        async for piece in pieces:
            if job is not None:
                await finished(job)
            job = start_writing(write, descriptor, piece)
        if job is not None:
            await finished(job)
    finally:
        await settled(job)


def write_all(descriptor: int, piece: Piece) -> None:
    """Write the whole of a piece, blocking.

    Args:
        descriptor: Open for writing.
        piece: Chunks to write in order, uncopied where they are few.
    """
    buffers: Sequence[bytes | memoryview]
    buffers = piece if len(piece) <= MOST_BUFFERS else [b"".join(piece)]
    written = os.writev(descriptor, buffers)
    rest = memoryview(b"") if written == sum(map(len, buffers)) else _after(buffers, written)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _after(buffers: Sequence[bytes | memoryview], written: int) -> memoryview:
    return memoryview(b"".join(buffers))[written:]


async def read_range(descriptor: int, wanted: ByteRange) -> AsyncGenerator[bytes]:
    """Stream a range of a file, the next chunk being read while one is used.

    Chunks grow to `READ_SIZE` for a quick reader and stay small for a slow one. No read is left
    under way once the generator has ended or is closed.

    Args:
        descriptor: Open for reading; stays the caller's, its position unused.
        wanted: Range in bytes, inside the file.

    Raises:
        FileCut: The file is shorter than the range.
    """
    time = asyncio.get_running_loop().time
    position, size = wanted.start, SLOW_READ_SIZE
    job = start_in_thread(os.pread, descriptor, min(size, wanted.size), position)
    try:
        while chunk := await finished(job):
            position += len(chunk)
            if left := wanted.stop - position:
                job = start_in_thread(os.pread, descriptor, min(size, left), position)
            handed = time()
            yield chunk
            if not left:
                return
            slow = time() - handed > SLOW_AFTER_SECONDS or position - wanted.start < UNKNOWN_SIZE
            size = SLOW_READ_SIZE if slow else min(2 * size, READ_SIZE)
    finally:
        await settled(job)
    if wanted.size:
        raise FileCut(f"{wanted.stop - position} bytes are missing")
