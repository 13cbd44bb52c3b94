"""Temporary storage for a body, which is always removed when the context ends.

Files never have a name, so not even `kill -9` leaves a file behind.
"""

from __future__ import annotations

import asyncio
import io
import mmap
import os
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from aiofiles.tempfile import TemporaryFile

from quart_app.errors import TooLarge
from quart_app.models import MIB, ByteRange
from quart_app.protocol.text import TextDecoder
from quart_app.streaming.files import READ_SIZE, read_range, write_pieces
from quart_app.streaming.pieces import chained, gathered
from quart_app.streaming.threads import EXECUTOR, finished, in_thread, uninterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

    from aiofiles.threadpool.binary import AsyncFileIO

__all__ = [
    "SPILL_SIZE",
    "Spool",
    "file_spool",
    "mapped_spool",
    "memory_spool",
    "spilling_spool",
    "text_spool",
]

#: Default maximum of bytes that `spilling_spool` keeps in memory.
SPILL_SIZE = 1 * MIB

#: Characters of text read at once: at most `READ_SIZE` bytes of UTF-8.
TEXT_LENGTH = READ_SIZE // 4


class Spool(Protocol):
    """A temporarily stored body that can be read any number of times."""

    size: int

    def chunks(self) -> AsyncGenerator[bytes]:
        """Stream the whole content; close the generator when leaving it early."""
        ...


class _MemorySpool:
    def __init__(self, content: io.BytesIO) -> None:
        self.size = content.getbuffer().nbytes
        self._content = content

    async def chunks(self) -> AsyncGenerator[bytes]:
        for start in range(0, self.size, READ_SIZE):
            yield bytes(self._content.getbuffer()[start : start + READ_SIZE])


class _FileSpool:
    def __init__(self, descriptor: int) -> None:
        self.size = os.fstat(descriptor).st_size
        self._descriptor = descriptor

    def chunks(self) -> AsyncGenerator[bytes]:
        return read_range(self._descriptor, ByteRange(0, self.size))


class _TextSpool:
    def __init__(self, content: io.StringIO, size: int) -> None:
        self.size = size
        self._content = content

    async def chunks(self) -> AsyncGenerator[bytes]:
        self._content.seek(0)
        while text := self._content.read(TEXT_LENGTH):
            yield text.encode()


class _MappedSpool:
    def __init__(self, mapped: mmap.mmap) -> None:
        self.size = len(mapped)
        self._mapped = mapped

    async def chunks(self) -> AsyncGenerator[bytes]:
        # Access to the pages may block on the disk, so it takes place in a thread.
        for start in range(0, self.size, READ_SIZE):
            yield await in_thread(self._read, start, min(READ_SIZE, self.size - start))

    def _read(self, start: int, size: int) -> bytes:
        chunk = self._mapped[start : start + size]
        if hasattr(mmap, "MADV_DONTNEED"):  # pages once read count as memory of this process
            self._mapped.madvise(mmap.MADV_DONTNEED, start, size)
        return chunk


@asynccontextmanager
async def memory_spool(chunks: AsyncIterable[bytes], *, max_size: int) -> AsyncIterator[Spool]:
    """Keep a body in memory (`io.BytesIO`).

    Args:
        chunks: The body.
        max_size: Bytes it may hold.

    Raises:
        TooLarge: The body passes `max_size`.
    """
    with io.BytesIO() as content:
        async for chunk in chunks:
            if content.tell() + len(chunk) > max_size:
                raise TooLarge(max_size)
            content.write(chunk)
        yield _MemorySpool(content)


@asynccontextmanager
async def file_spool(
    chunks: AsyncIterable[bytes], *, directory: str | None = None
) -> AsyncIterator[Spool]:
    """Keep a body in a temporary file without a name.

    Args:
        chunks: The body.
        directory: Where; the system's place for temporary files when None.
    """
    async with _written(chunks, directory) as descriptor:
        yield _FileSpool(descriptor)


@asynccontextmanager
async def mapped_spool(
    chunks: AsyncIterable[bytes], *, directory: str | None = None
) -> AsyncIterator[Spool]:
    """Keep a body in a temporary file and read it through `mmap`.

    Args:
        chunks: The body.
        directory: Where; the system's place for temporary files when None.
    """
    async with _written(chunks, directory) as descriptor:
        if os.fstat(descriptor).st_size == 0:  # which cannot be mapped
            yield _FileSpool(descriptor)
            return
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as mapped:
            yield _MappedSpool(mapped)


@asynccontextmanager
async def spilling_spool(
    chunks: AsyncIterable[bytes], *, spill_size: int = SPILL_SIZE, directory: str | None = None
) -> AsyncIterator[Spool]:
    """Keep a body in memory (`io.BytesIO`), or in a temporary file once it is larger.

    Args:
        chunks: The body.
        spill_size: Most bytes in memory.
        directory: Where the file goes; the system's place for temporary files when None.
    """
    with io.BytesIO() as content:
        rest = await _filled(content, chunks, spill_size)
        if rest is None:
            yield _MemorySpool(content)
            return
        head = [content.getvalue()]
    async with file_spool(chained(head, rest), directory=directory) as spool:
        yield spool


@asynccontextmanager
async def text_spool(
    chunks: AsyncIterable[bytes], *, spill_size: int = SPILL_SIZE, directory: str | None = None
) -> AsyncIterator[Spool]:
    """Keep UTF-8 in memory as text (`io.StringIO`), or in a temporary file once it is larger.

    Args:
        chunks: The body.
        spill_size: Most bytes in memory.
        directory: Where the file goes; the system's place for temporary files when None.

    Raises:
        NotText: The body is not UTF-8.
    """
    with io.BytesIO() as content:
        rest = await _filled(content, _utf8(chunks), spill_size)
        head = [content.getvalue()]
    if rest is None:
        size = len(head[0])
        with io.StringIO(head.pop().decode(), newline="") as text:
            yield _TextSpool(text, size)
    else:
        async with file_spool(chained(head, rest), directory=directory) as spool:
            yield spool


async def _filled(
    content: io.BytesIO, chunks: AsyncIterable[bytes], size: int
) -> AsyncIterator[bytes] | None:
    """Read until `content` exceeds `size` bytes. Return the unread rest, or None at the end."""
    rest = aiter(chunks)
    async for chunk in rest:
        content.write(chunk)
        if content.tell() > size:
            return rest
    return None


async def _utf8(chunks: AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    decoder = TextDecoder()
    async for chunk in chunks:
        decoder.decode(chunk)
        yield chunk
    decoder.decode(b"", final=True)


@asynccontextmanager
async def _written(chunks: AsyncIterable[bytes], directory: str | None) -> AsyncIterator[int]:
    opening = asyncio.ensure_future(_temporary(directory or tempfile.gettempdir()))
    try:
        descriptor = (await finished(opening)).fileno()
        await write_pieces(descriptor, gathered(chunks))
        yield descriptor
    finally:
        # Not by aiofiles' own context, which closes on the loop's default threads.
        if not opening.cancelled() and opening.exception() is None:
            await uninterrupted(opening.result().close())


async def _temporary(directory: str) -> AsyncFileIO:
    return await TemporaryFile("w+b", buffering=0, dir=directory, executor=EXECUTOR)
