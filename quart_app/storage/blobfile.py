"""One blob as a file: how it is written, and how it is read. Methods block but for `keep`."""

from __future__ import annotations

import base64
import fcntl
import os
import secrets
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from quart_app.models import KIB
from quart_app.storage.tree import (
    PRIVATE_DIRECTORY,
    PRIVATE_FILE,
    remove_record,
    sync_directory,
    write_record,
)
from quart_app.streaming import FileRange, chained, disk_errors, read_range, write_all

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from quart_app.models import ByteRange
    from quart_app.storage.tree import Tree
    from quart_app.streaming import Piece

__all__ = ["SMALL_SIZE", "Reader", "WriterLock", "Writing"]

#: Size in bytes below which a hop to a thread costs more than the disk operation itself.
SMALL_SIZE = 64 * KIB


class WriterLock:
    """The lock by which other processes see that this process may still be writing.

    The kernel releases the lock when the process ends. One descriptor serves all writes.

    Args:
        directory: Directory of the locks; made when missing.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mutex = threading.Lock()
        self._descriptor = -1
        self._name = ""

    def name(self) -> str:
        """Return the name of the lock, taken at the first call."""
        with self._mutex:
            while self._descriptor < 0:
                self._take()
            return self._name

    def release(self) -> None:
        """Release the lock and remove its file; no write may follow."""
        with self._mutex:
            if self._descriptor >= 0:
                (self._directory / self._name).unlink(missing_ok=True)
                os.close(self._descriptor)
                self._descriptor = -1

    def _take(self) -> None:
        name = base64.b32encode(secrets.token_bytes(5)).decode().lower()
        flags = os.O_CREAT | os.O_EXCL | os.O_RDONLY | os.O_CLOEXEC
        self._directory.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
        descriptor = os.open(self._directory / name, flags, PRIVATE_FILE)
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink:
                self._descriptor, self._name = descriptor, name
                return
        os.close(descriptor)  # a sweep took the file for a leftover before it was locked


class Writing:
    """A blob from its first byte until a catalog entry names it.

    Args:
        tree: The directory of blobs.
        lock: Lock of this process.
        key: Key of the blob.
    """

    def __init__(self, tree: Tree, lock: WriterLock, key: str) -> None:
        self._tree = tree
        self._lock = lock
        self._path = tree.path(key)
        self._part = self._path
        self._named: Path | None = None
        self.descriptor = -1
        self.kept = False

    @disk_errors()
    def store(self, piece: Piece, record: bytes) -> None:
        """Write a small blob, from its creation to its publication."""
        self.create()
        self.write(self.descriptor, piece)
        self.publish(record)

    @disk_errors()
    def create(self) -> None:
        """Create the file under a name that marks it as unfinished."""
        self._part = self._path.with_name(f"{self._path.name}.{self._lock.name()}.part")
        self.descriptor = self._open()
        self._named = self._part

    def _open(self) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        try:
            return os.open(self._part, flags, PRIVATE_FILE)
        except FileNotFoundError:
            self._part.parent.mkdir(PRIVATE_DIRECTORY, exist_ok=True)
            sync_directory(self._tree.root)
            return os.open(self._part, flags, PRIVATE_FILE)

    @disk_errors()
    def write(self, descriptor: int, piece: Piece) -> None:
        """Write a piece, unless it would use the space to leave free."""
        self._tree.require_room(sum(map(len, piece)))
        write_all(descriptor, piece)

    @disk_errors()
    def publish(self, record: bytes) -> None:
        """Make bytes and record durable, then readable under the key, and close the file."""
        write_record(self.descriptor, self._path, record)
        os.fsync(self.descriptor)
        self._part.rename(self._path)
        self._named = self._path
        sync_directory(self._path.parent)
        self._close()
        self._tree.verify()  # last: the whole may have gone to a directory that was replaced

    def keep(self) -> None:
        """See `Blob.keep`."""
        self.kept = True

    def discard(self) -> None:
        """Remove the file and its record, whatever its state."""
        if self._named is not None:
            with suppress(OSError):  # the next sweep removes the rest
                self._named.unlink()
                remove_record(self._path)
        self._close()

    def _close(self) -> None:
        if self.descriptor >= 0:
            descriptor, self.descriptor = self.descriptor, -1
            os.close(descriptor)


class Reader:
    """An open blob; a small one is read while it is opened, which spares a hop to a thread.

    Args:
        tree: The directory of blobs.
        key: Key of the blob.
    """

    size = 0
    _content: bytes | None = None

    def __init__(self, tree: Tree, key: str) -> None:
        self._tree = tree
        self._key = key
        self._descriptor = -1

    def open(self) -> None:
        """Open the blob.

        Raises:
            FileNotFoundError: There is none.
            OSError: The directory of blobs was replaced (`ESTALE`), or the disk fails.
        """
        self._descriptor = self._opened()
        self.size = os.fstat(self._descriptor).st_size
        if self.size < SMALL_SIZE:
            self._content = os.pread(self._descriptor, self.size, 0)

    def _opened(self) -> int:
        for path in self._tree.places(self._key):
            with suppress(FileNotFoundError):
                return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._tree.verify()
        raise FileNotFoundError

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def file_range(self, wanted: ByteRange) -> FileRange | None:
        """See `FileReading.file_range`."""
        return FileRange(self._descriptor, wanted) if self._content is None else None

    def chunks(self, wanted: ByteRange) -> AsyncGenerator[bytes]:
        """See `Reader.chunks` of the contract."""
        if self._content is None:
            return read_range(self._descriptor, wanted)
        return chained([self._content[wanted.start : wanted.stop]])
