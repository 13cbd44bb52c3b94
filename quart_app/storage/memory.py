"""Blobs in this process's memory, for tests and small things; gone with the process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from quart_app.errors import NoSpace, NotFound
from quart_app.models import MIB
from quart_app.streaming import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from quart_app.models import ByteRange
    from quart_app.storage.contract import Known
    from quart_app.streaming import Piece

__all__ = ["MemoryDriver"]


class MemoryDriver:
    """A dictionary of blobs.

    Args:
        capacity: Bytes that all blobs together may hold.
    """

    def __init__(self, capacity: int = 64 * MIB) -> None:
        self.blobs: dict[str, bytes] = {}
        self._capacity = capacity
        self._free = capacity
        self._unkept: set[str] = set()

    @asynccontextmanager
    async def put(self, key: str, pieces: AsyncIterator[Piece]) -> AsyncIterator[_Blob]:
        """Write a blob; see `Driver.put`."""
        content = bytearray()
        taken = 0
        try:
            async for piece in pieces:
                size = sum(map(len, piece))
                if size > self._free:
                    raise NoSpace
                self._free -= size
                taken += size
                content.extend(b"".join(piece))
            self._unkept.add(key)
            self.blobs[key] = bytes(content)
            taken = 0
            yield _Blob(self._unkept, key)
        finally:
            self._free += taken
            if key in self._unkept:
                await self.delete(key)

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[_Reader]:
        """Open a blob; see `Driver.open`."""
        if key not in self.blobs:
            raise NotFound
        yield _Reader(self.blobs[key])

    async def delete(self, key: str) -> None:
        """Remove a blob; see `Driver.delete`."""
        self._unkept.discard(key)
        self._free += len(self.blobs.pop(key, b""))

    async def sweep(self, known: Known) -> int:
        """Remove blobs without an entry; see `Driver.sweep`."""
        keys = self.blobs.keys() - self._unkept
        orphans = keys - await known(sorted(keys)) - self._unkept
        for key in orphans:
            await self.delete(key)
        return len(orphans)

    async def check(self) -> None:
        """Memory always answers."""

    async def free_space(self) -> int:
        """Give what is left of the capacity, in bytes."""
        return self._free


class _Blob:
    def __init__(self, unkept: set[str], key: str) -> None:
        self._unkept = unkept
        self._key = key

    def keep(self) -> None:
        self._unkept.discard(self._key)


class _Reader:
    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self._content = content

    async def chunks(self, wanted: ByteRange) -> AsyncGenerator[bytes]:
        for start in range(wanted.start, wanted.stop, READ_SIZE):
            yield self._content[start : min(start + READ_SIZE, wanted.stop)]
