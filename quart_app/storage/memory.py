"""Blobs in this process's memory, for tests and small things; they end with the process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from quart_app.errors import NoSpace, NotFound
from quart_app.models import MIB
from quart_app.storage.contract import Found
from quart_app.streaming import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

    from quart_app.models import ByteRange
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
        self._found: dict[str, Found] = {}
        self._aside: dict[str, date] = {}
        self._unkept: set[str] = set()
        self._identity: str | None = None

    @asynccontextmanager
    async def put(
        self, key: str, pieces: AsyncIterator[Piece], describe: Callable[[], bytes]
    ) -> AsyncIterator[_Blob]:
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
            self._found[key] = Found(key, len(content), datetime.now(UTC), describe())
            self._unkept.add(key)
            self.blobs[key] = bytes(content)
            taken = 0
            yield _Blob(self._unkept, key)
        finally:
            self._free += taken
            if key in self._unkept:
                await self.delete([key])

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[_Reader]:
        """Open a blob; see `Driver.open`."""
        if key not in self.blobs:
            raise NotFound
        yield _Reader(self.blobs[key])

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs; see `Driver.delete`."""
        for key in keys:
            self._unkept.discard(key)
            self._found.pop(key, None)
            self._aside.pop(key, None)
            self._free += len(self.blobs.pop(key, b""))

    async def look(self, key: str) -> Found | None:
        """Return size, time and record of a blob; see `Driver.look`."""
        return self._found.get(key)

    async def walk(self) -> AsyncGenerator[list[str]]:
        """List the keys of all blobs; see `Driver.walk`."""
        yield sorted(self.blobs.keys() - self._aside.keys() - self._unkept)

    async def walk_aside(self) -> AsyncGenerator[tuple[date, list[str]]]:
        """List the keys of the blobs that are set aside; see `Driver.walk_aside`."""
        for day in sorted(set(self._aside.values())):
            yield day, sorted(key for key, since in self._aside.items() if since == day)

    async def set_aside(self, keys: Sequence[str], day: date) -> None:
        """Move blobs out of the way; see `Driver.set_aside`."""
        self._aside.update({key: day for key in keys if key in self.blobs})

    async def restore(self, keys: Sequence[str]) -> None:
        """Bring blobs back; see `Driver.restore`."""
        for key in keys:
            self._aside.pop(key, None)

    async def clean(self, *, dry_run: bool = False) -> int:  # noqa: ARG002  # the contract's
        """Return 0: unfinished writes end with the process."""
        return 0

    async def identity(self) -> str | None:
        """Return the identity; see `Driver.identity`."""
        return self._identity

    async def set_identity(self, identity: str) -> None:
        """Set the identity; see `Driver.set_identity`."""
        self._identity = identity

    async def check(self) -> None:
        """Memory always answers."""

    async def free_space(self) -> int:
        """Return the unused capacity in bytes."""
        return self._free

    async def close(self) -> None:
        """Nothing is held."""


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
