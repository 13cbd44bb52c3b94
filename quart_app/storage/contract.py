"""The contract of every storage driver."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import date, datetime

    from quart_app.models import ByteRange
    from quart_app.streaming import FileRange, Piece

__all__ = ["Blob", "Driver", "FileReading", "Found", "PathReporting", "Reader", "SpaceReporting"]


class Blob(Protocol):
    """Bytes that are durable and readable, and that no catalog entry names yet."""

    def keep(self) -> None:
        """Make the bytes outlive the context that wrote them; does no I/O and cannot fail."""
        ...


class Reader(Protocol):
    """An open blob: deleting the blob does not disturb the reader."""

    size: int

    def chunks(self, wanted: ByteRange) -> AsyncGenerator[bytes]:
        """Stream a range inside the blob; close the generator when leaving it early."""
        ...


@runtime_checkable
class FileReading(Protocol):
    """A reader whose blob is a file with the same bytes."""

    def file_range(self, wanted: ByteRange) -> FileRange | None:
        """Return a range inside the blob as one of a file, or None where its bytes are in memory.

        The file stays open as long as the reader.
        """
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A blob as the store sees it.

    Attributes:
        key: Key of the blob.
        size: Length in bytes.
        written_at: Time of the last write, UTC, by the clock of the store.
        record: The record kept beside the bytes, or None where there is none.
    """

    key: str
    size: int
    written_at: datetime
    record: bytes | None


class Driver(Protocol):
    """Bytes at rest under keys.

    The caller passes keys of 26 lower-case letters and digits, never the same twice, and runs all
    calls on one event loop. Errors are `StorageError`s; errors of the `pieces` pass through
    untouched.
    """

    def put(
        self, key: str, pieces: AsyncIterator[Piece], describe: Callable[[], bytes]
    ) -> AbstractAsyncContextManager[Blob]:
        """Write a blob and its record.

        Entering takes all pieces, and returns once bytes and record are durable and readable under
        the key. Leaving removes both unless `keep` was called, and so does every failure and
        cancellation: nothing visible is left. A blob in the context holds no descriptor, and no
        walk of this process meets it.

        Args:
            key: A new key.
            pieces: The bytes.
            describe: Returns the record, up to 64 KiB; called once, after the last piece.

        Raises:
            NoSpace: The bytes do not fit.
            StorageUnavailable: The store does not accept writes, or was replaced.
        """
        ...

    def open(self, key: str) -> AbstractAsyncContextManager[Reader]:
        """Open a blob for reading, also one that is set aside.

        Raises:
            NotFound: There is none.
            StorageUnavailable: The store was replaced.
        """
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove blobs and their records; a missing blob is no error."""
        ...

    async def look(self, key: str) -> Found | None:
        """Return size, time and record of a blob, also one that is set aside, or None."""
        ...

    def walk(self) -> AsyncGenerator[list[str]]:
        """List the keys of all blobs in batches, without those that are set aside.

        Only names that this driver makes are listed, and links are not followed.
        """
        ...

    def walk_aside(self) -> AsyncGenerator[tuple[date, list[str]]]:
        """List the keys of the blobs that are set aside, with the day of `set_aside`."""
        ...

    async def set_aside(self, keys: Sequence[str], day: date) -> None:
        """Move blobs to where `walk` does not list them; missing ones are no error."""
        ...

    async def restore(self, keys: Sequence[str]) -> None:
        """Bring back blobs that were set aside; missing ones are no error."""
        ...

    async def clean(self, *, dry_run: bool = False) -> int:
        """Remove unfinished writes whose process has ended.

        Args:
            dry_run: Only count them.

        Returns:
            Number of unfinished writes.
        """
        ...

    async def identity(self) -> str | None:
        """Return the identity that `set_identity` gave the store, or None."""
        ...

    async def set_identity(self, identity: str) -> None:
        """Mark the store durably as the one that belongs to a catalog."""
        ...

    async def check(self) -> None:
        """Return if the store answers, accepts writes and was not replaced.

        Raises:
            StorageUnavailable: It does not.
        """
        ...

    async def close(self) -> None:
        """Release all that the driver holds; no call may follow."""
        ...


@runtime_checkable
class SpaceReporting(Protocol):
    """A driver that can report its free space."""

    async def free_space(self) -> int:
        """Return the number of bytes that may still be written."""
        ...


@runtime_checkable
class PathReporting(Protocol):
    """A driver whose blobs are files that another program may read."""

    def relative_path(self, key: str) -> str:
        """Return the path of a blob below the driver's directory; does no I/O.

        The blob may be missing. The file never changes: the path of a deleted blob is never used
        again.
        """
        ...
