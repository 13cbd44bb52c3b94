"""Blobs as files of one directory tree.

A blob is written beside its final name, synced, renamed and its directory synced; its descriptor
stays locked (`flock`) until the caller has made it somebody's. A crash releases the lock, so
whatever is unlocked and unknown is a leftover, in whichever process it began.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from quart_app.errors import NotFound, StorageUnavailable
from quart_app.models import KIB
from quart_app.streaming import (
    FileRange,
    chained,
    disk_errors,
    in_thread,
    read_range,
    write_all,
    write_pieces,
    written,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

    from quart_app.models import ByteRange
    from quart_app.storage.contract import Known
    from quart_app.streaming import Piece

__all__ = ["LocalDriver"]

PART_SUFFIX = ".part"

#: Bytes up to which a visit to a thread costs more than what is done there.
SMALL_SIZE = 64 * KIB

#: Leading characters of a key that name its directory: 1,024 directories.
SHARD_LENGTH = 2


class LocalDriver:
    """Files under `root`, in directories named by the first characters of their keys.

    Args:
        root: An existing directory on a file system with POSIX rename and `flock`.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def relative_path(self, key: str) -> str:
        """Give the path of a blob below `root`; see `PathReporting.relative_path`."""
        return f"{key[:SHARD_LENGTH]}/{key}"

    def _path(self, key: str) -> Path:
        return self._root / self.relative_path(key)

    @asynccontextmanager
    async def put(self, key: str, pieces: AsyncIterator[Piece]) -> AsyncIterator[_Writing]:
        """Write a blob; see `Driver.put`."""
        writing = _Writing(self._path(key))
        try:
            await _write(writing, pieces)
            yield writing
        finally:
            if writing.kept:
                writing.close()  # synced long ago: this only lets go of the lock
            else:
                await written(writing.discard)

    @asynccontextmanager
    async def open(self, key: str) -> AsyncIterator[_Reader]:
        """Open a blob; see `Driver.open`."""
        reader = _Reader(self._path(key))
        try:
            with disk_errors():
                try:
                    await in_thread(reader.open)
                except FileNotFoundError as error:
                    raise NotFound from error
            yield reader
        finally:
            reader.close()

    async def delete(self, key: str) -> None:
        """Remove a blob; see `Driver.delete`."""
        with disk_errors(), suppress(FileNotFoundError):
            await written(self._path(key).unlink)

    async def sweep(self, known: Known) -> int:
        """Remove leftovers, a directory at a time; see `Driver.sweep`."""
        removed = 0
        with disk_errors():
            for directory in await in_thread(self._shards):
                names = await in_thread(os.listdir, directory)
                unfinished = [name for name in names if name.endswith(PART_SUFFIX)]
                whole = sorted(set(names) - set(unfinished))
                orphans = set(whole) - await known(whole) if whole else set()
                for name in [*unfinished, *orphans]:
                    removed += await _removed(directory / name, known)
        return removed

    def _shards(self) -> list[Path]:
        """Only what this driver made: `lost+found` and the like are not its own."""
        return [path for path in self._root.glob("?" * SHARD_LENGTH) if path.is_dir()]

    async def check(self) -> None:
        """See `Driver.check`."""
        if not await in_thread(os.access, self._root, os.R_OK | os.W_OK | os.X_OK):
            raise StorageUnavailable

    async def free_space(self) -> int:
        """Give the bytes that an unprivileged user may still write."""
        with disk_errors():
            status = await in_thread(os.statvfs, self._root)
        return status.f_bavail * status.f_frsize


async def _write(writing: _Writing, pieces: AsyncIterator[Piece]) -> None:
    """Write a blob; a small one in one visit to a thread, as four cost more than its bytes.

    Errors of the disk are translated. Errors of `pieces`, whatever their class, are not.
    """
    begun: list[Piece] = [await anext(pieces, [])]
    if sum(map(len, begun[0])) < SMALL_SIZE:
        following = await anext(pieces, None)  # and with it the checks at the end
        if following is None:
            with disk_errors():
                await written(writing.store, begun[0])
            return
        begun.append(following)
    with disk_errors():
        await written(writing.create)
    async with aclosing(chained(begun, pieces)) as whole:
        await write_pieces(writing.descriptor, whole, _write_piece)
    with disk_errors():
        await written(writing.publish)


def _write_piece(descriptor: int, piece: Piece) -> None:
    with disk_errors():
        write_all(descriptor, piece)


async def _removed(path: Path, known: Known) -> bool:
    """Remove a leftover, unless its writer is alive or has just made it somebody's."""
    claim = _Claim(path)
    try:
        return (
            await written(claim.take)
            and not await known([path.name])
            and await written(claim.remove)
        )
    finally:
        claim.close()


class _Descriptor:
    """A file whose descriptor is closed exactly once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.descriptor = -1

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class _Writing(_Descriptor):
    """A blob from its first byte to its owner; methods but `keep` block."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._part = path.with_name(path.name + PART_SUFFIX)
        self._named = self._part
        self.kept = False

    def store(self, piece: Piece) -> None:
        self.create()
        write_all(self.descriptor, piece)
        self.publish()

    def create(self) -> None:
        while True:
            self.descriptor = self._open()
            fcntl.flock(self.descriptor, fcntl.LOCK_EX)
            if os.fstat(self.descriptor).st_nlink:
                return
            # A sweep took it for a leftover between the two calls.
            self.close()

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(self._part, flags, 0o640)
        except FileNotFoundError:
            self._part.parent.mkdir(exist_ok=True)
            _sync(self._part.parent.parent)
            return os.open(self._part, flags, 0o640)

    def publish(self) -> None:
        os.fsync(self.descriptor)
        self._part.rename(self._path)
        self._named = self._path
        _sync(self._path.parent)

    def keep(self) -> None:
        self.kept = True

    def discard(self) -> None:
        if self.descriptor >= 0:
            with suppress(OSError):  # a sweep finishes what fails here
                self._named.unlink()
        self.close()


class _Reader(_Descriptor):
    """An open blob; a small one is read while it is opened, which spares a visit to a thread."""

    size = 0
    _content: bytes | None = None

    def open(self) -> None:
        self.descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        self.size = os.fstat(self.descriptor).st_size
        if self.size < SMALL_SIZE:
            self._content = os.pread(self.descriptor, self.size, 0)

    def file_range(self, wanted: ByteRange) -> FileRange | None:
        return FileRange(self.descriptor, wanted) if self._content is None else None

    def chunks(self, wanted: ByteRange) -> AsyncGenerator[bytes]:
        if self._content is None:
            return read_range(self.descriptor, wanted)
        return chained([self._content[wanted.start : wanted.stop]])


class _Claim(_Descriptor):
    """A leftover to be, locked so that nobody can think it alive."""

    def take(self) -> bool:
        try:
            self.descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (FileNotFoundError, BlockingIOError):
            return False
        return True

    def remove(self) -> bool:
        self._path.unlink(missing_ok=True)
        self.close()  # here, as it frees the blocks, which takes long for a large file
        return True


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
