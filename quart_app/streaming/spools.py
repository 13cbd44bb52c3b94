"""Four places to keep a body for a moment; nothing of it survives the context, whatever happens.

Files have no name from the start, so not even `kill -9` leaves one behind.
"""

from __future__ import annotations

import io
import mmap
import os
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from aiofiles.tempfile import TemporaryFile

from quart_app.errors import TooLarge
from quart_app.models import MIB, ByteRange
from quart_app.streaming.files import READ_SIZE, read_range, write_pieces
from quart_app.streaming.pieces import chained, gathered
from quart_app.streaming.threads import EXECUTOR, in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

__all__ = ["SPILL_SIZE", "Spool", "file_spool", "mapped_spool", "memory_spool", "spilling_spool"]

#: Bytes that `spilling_spool` keeps in memory unless told otherwise.
SPILL_SIZE = 1 * MIB


class Spool(Protocol):
    """A body kept for a moment, readable as often as wanted."""

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


class _MappedSpool:
    def __init__(self, mapped: mmap.mmap) -> None:
        self.size = len(mapped)
        self._mapped = mapped

    async def chunks(self) -> AsyncGenerator[bytes]:
        # Touching the pages may wait for the disk: only ever in a thread.
        for start in range(0, self.size, READ_SIZE):
            yield await in_thread(self._mapped.__getitem__, slice(start, start + READ_SIZE))


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
    """Keep a body in memory, or in a temporary file once it is larger than `spill_size`.

    Args:
        chunks: The body.
        spill_size: Most bytes in memory.
        directory: Where the file goes; the system's place for temporary files when None.
    """
    rest = aiter(chunks)
    head: list[bytes] = []
    held = 0
    async for chunk in rest:
        head.append(chunk)
        held += len(chunk)
        if held > spill_size:
            break
    async with AsyncExitStack() as stack:
        if held <= spill_size:
            content = stack.enter_context(io.BytesIO(b"".join(head)))
            yield _MemorySpool(content)
        else:
            yield await stack.enter_async_context(
                file_spool(chained(head, rest), directory=directory)
            )


@asynccontextmanager
async def _written(chunks: AsyncIterable[bytes], directory: str | None) -> AsyncIterator[int]:
    place = directory or tempfile.gettempdir()
    async with TemporaryFile("w+b", buffering=0, dir=place, executor=EXECUTOR) as file:
        descriptor = file.fileno()
        await write_pieces(descriptor, gathered(chunks))
        yield descriptor
