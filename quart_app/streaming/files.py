"""Transfer between file descriptors and streams, with disk access and network access overlapped."""

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

#: Maximum read size, used for fast readers. One more chunk of this size is read ahead.
READ_SIZE = 1 * MIB

#: Read size for slow readers: 500 slow readers then use about 250 MiB instead of 1 GiB.
SLOW_READ_SIZE = 128 * KIB

#: Bytes at the start of a transfer for which every reader counts as slow. The kernel buffers some
#: MiB at once, so the first chunks do not show the speed of the reader.
PROBE_SIZE = 8 * MIB

#: Time per chunk in seconds above which a reader counts as slow.
SLOW_AFTER_SECONDS = 0.25

#: Maximum number of buffers of one `writev` call (IOV_MAX on Linux and macOS).
MOST_BUFFERS = 1024


class FileCut(OSError):
    """A file is shorter than the requested range."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """A range of an open file, as a chunk of a response body.

    If the server supports zero-copy send, the kernel copies the bytes from the file to the socket.
    Otherwise the bytes are read with `read_range`.

    Attributes:
        descriptor: Open for reading until the response has ended. The file position is not used.
        wanted: Byte range, inside the file.
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
    """Write pieces at the current file position, and collect the next piece during each write.

    When this function returns or raises, no write is in progress.

    Args:
        descriptor: Open for writing. The caller keeps ownership.
        pieces: Consecutive bytes.
        write: Blocking function that writes one piece, or None for `write_all`.

    Raises:
        OSError: The write failed. Other errors of `write` are passed on too.
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
    """Write a whole piece. This function blocks.

    Args:
        descriptor: Open for writing.
        piece: Chunks to write in order. Up to `MOST_BUFFERS` chunks are written without a copy.
    """
    buffers: Sequence[bytes | memoryview]
    buffers = piece if len(piece) <= MOST_BUFFERS else [b"".join(piece)]
    written = os.writev(descriptor, buffers)
    left = memoryview(b"") if written == sum(map(len, buffers)) else _unwritten(buffers, written)
    while left:
        left = left[os.write(descriptor, left) :]


def _unwritten(buffers: Sequence[bytes | memoryview], written: int) -> memoryview:
    return memoryview(b"".join(buffers))[written:]


async def read_range(descriptor: int, wanted: ByteRange) -> AsyncGenerator[bytes]:
    """Stream a range of a file, and read the next chunk ahead.

    Chunks grow to `READ_SIZE` for a fast reader and stay small for a slow reader. When the
    generator has ended or is closed, no read is in progress.

    Args:
        descriptor: Open for reading. The caller keeps ownership. The file position is not used.
        wanted: Byte range, inside the file.

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
            yielded_at = time()
            yield chunk
            if not left:
                return
            slow = time() - yielded_at > SLOW_AFTER_SECONDS or position - wanted.start < PROBE_SIZE
            size = SLOW_READ_SIZE if slow else min(2 * size, READ_SIZE)
    finally:
        await settled(job)
    if wanted.size:
        raise FileCut(f"{wanted.stop - position} bytes are missing")
