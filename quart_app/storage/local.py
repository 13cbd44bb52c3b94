"""Blobs as files of one directory tree, laid out as `tree` describes.

A blob is written beside its final name, synced, renamed and its directory synced. Unfinished
writes carry the name of a lock that their process holds; the kernel releases the lock with the
process, so an unfinished write without a locked name is a leftover.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from quart_app.errors import NotFound, StorageUnavailable
from quart_app.models import MIB
from quart_app.storage.blobfile import SMALL_SIZE, Reader, WriterLock, Writing
from quart_app.storage.tree import Tree
from quart_app.streaming import chained, disk_errors, in_thread, write_pieces, written

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from datetime import date
    from pathlib import Path

    from quart_app.storage.contract import Found
    from quart_app.streaming import Piece

__all__ = ["MIN_FREE", "LocalDriver"]

#: Default for the bytes that writes leave free: what is deleted must be able to be deleted.
MIN_FREE = 2 * MIB


class LocalDriver:
    """Files under `root`, in directories named by the first characters of their keys.

    Args:
        root: An existing directory on a file system with POSIX rename and `flock`.
        min_free: Bytes of the file system that uploads leave free.
    """

    def __init__(self, root: Path, *, min_free: int = MIN_FREE) -> None:
        self._tree = Tree(root, min_free)
        self._lock = WriterLock(self._tree.writers)
        self._unkept: set[str] = set()

    def relative_path(self, key: str) -> str:
        """Return the path of a blob below `root`; see `PathReporting.relative_path`."""
        return str(self._tree.path(key).relative_to(self._tree.root))

    @asynccontextmanager
    async def put(
        self, key: str, pieces: AsyncIterator[Piece], describe: Callable[[], bytes]
    ) -> AsyncIterator[Writing]:
        """Write a blob; see `Driver.put`."""
        writing = Writing(self._tree, self._lock, key)
        self._unkept.add(key)
        try:
            await _write(writing, pieces, describe)
            yield writing
        finally:
            if not writing.kept:
                await written(writing.discard)
            self._unkept.discard(key)

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[Reader]:
        """Open a blob; see `Driver.open`."""
        reader = Reader(self._tree, key)
        try:
            with disk_errors():
                try:
                    await in_thread(reader.open)
                except FileNotFoundError as error:
                    raise NotFound from error
            yield reader
        finally:
            reader.close()

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs; see `Driver.delete`."""
        with disk_errors():
            await written(_each, self._tree.delete, keys)

    async def look(self, key: str) -> Found | None:
        """Return what is known of a blob; see `Driver.look`."""
        with disk_errors():
            return await in_thread(self._tree.look, key)

    async def walk(self) -> AsyncGenerator[list[str]]:
        """List the keys of all blobs, a directory at a time; see `Driver.walk`."""
        with disk_errors():
            shards = await in_thread(self._tree.shards)
        for shard in shards:
            with disk_errors():
                keys = await in_thread(self._tree.keys, shard)
            yield sorted(set(keys) - self._unkept)

    async def walk_aside(self) -> AsyncGenerator[tuple[date, list[str]]]:
        """List the keys of the blobs that are set aside; see `Driver.walk_aside`."""
        with disk_errors():
            days = await in_thread(self._tree.days)
        for day, directory in days:
            with disk_errors():
                keys = await in_thread(self._tree.keys, directory)
            yield day, sorted(keys)

    async def set_aside(self, keys: Sequence[str], day: date) -> None:
        """Move blobs out of the way; see `Driver.set_aside`."""
        with disk_errors():
            await written(_each, self._tree.set_aside, keys, day)

    async def restore(self, keys: Sequence[str]) -> None:
        """Bring blobs back; see `Driver.restore`."""
        with disk_errors():
            await written(_each, self._tree.restore, keys)

    async def clean(self, *, dry_run: bool = False) -> int:
        """Remove leftovers of ended processes; see `Driver.clean`."""
        with disk_errors():
            return await written(lambda: self._tree.clean(dry_run=dry_run))

    async def identity(self) -> str | None:
        """Return the identity of the directory; see `Driver.identity`."""
        with disk_errors():
            return await in_thread(self._tree.identity)

    async def set_identity(self, identity: str) -> None:
        """Mark the directory; see `Driver.set_identity`."""
        with disk_errors():
            await written(self._tree.set_identity, identity)

    async def check(self) -> None:
        """See `Driver.check`."""
        with disk_errors():
            if not await in_thread(self._tree.is_writable):
                raise StorageUnavailable

    async def free_space(self) -> int:
        """Return the bytes that uploads may still write."""
        with disk_errors():
            return await in_thread(self._tree.free_space)

    async def close(self) -> None:
        """Release the lock of this process; see `Driver.close`."""
        with disk_errors():
            await written(self._lock.release)


async def _write(
    writing: Writing, pieces: AsyncIterator[Piece], describe: Callable[[], bytes]
) -> None:
    """Write a blob; a small one in one hop to a thread, as four cost more than its bytes."""
    begun: list[Piece] = [await anext(pieces, [])]
    if sum(map(len, begun[0])) < SMALL_SIZE:
        following = await anext(pieces, None)  # the source checks its end here
        if following is None:
            await written(writing.store, begun[0], describe())
            return
        begun.append(following)
    await written(writing.create)
    async with aclosing(chained(begun, pieces)) as whole:
        await write_pieces(writing.descriptor, whole, writing.write)
    await written(writing.publish, describe())


def _each(func: Callable[..., None], keys: Sequence[str], *args: object) -> None:
    for key in keys:
        func(key, *args)
