"""What every storage driver promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from quart_app.models import ByteRange
    from quart_app.streaming import FileRange, Piece

__all__ = ["Blob", "Driver", "FileReading", "Known", "PathReporting", "Reader", "SpaceReporting"]

#: Tells which of some keys the catalog has an entry for.
Known: TypeAlias = "Callable[[Sequence[str]], Awaitable[set[str]]]"


class Blob(Protocol):
    """Bytes that are written, durable and readable, but not yet anybody's."""

    def keep(self) -> None:
        """Make them outlive the context that wrote them; does no I/O and cannot fail."""
        ...


class Reader(Protocol):
    """An open blob: deleting it does not disturb who reads it."""

    size: int

    def chunks(self, wanted: ByteRange) -> AsyncGenerator[bytes]:
        """Stream a range inside the blob; close the generator when leaving it early."""
        ...


@runtime_checkable
class FileReading(Protocol):
    """A reader of what lies in a file just as it is read."""

    def file_range(self, wanted: ByteRange) -> FileRange | None:
        """Give a range inside the blob as one of a file, or None where its bytes are at hand.

        The file stays open as long as the reader.
        """
        ...


class Driver(Protocol):
    """Bytes at rest under keys.

    The caller gives keys of 26 lower-case letters and digits, never the same twice, and runs all
    calls on one event loop. Errors are `StorageError`s; whatever the `pieces` raise passes
    through untouched.
    """

    def put(self, key: str, pieces: AsyncIterator[Piece]) -> AbstractAsyncContextManager[Blob]:
        """Write a blob.

        Entering takes all pieces, and returns once the bytes are durable and readable under the
        key. Leaving removes them again unless `keep` was called, and so does every failure and
        cancellation on the way: nothing visible is left. Until the context is left, no `sweep`
        of any process touches the blob, so a catalog entry is written inside it.

        Raises:
            NoSpace: The bytes do not fit.
            StorageUnavailable: The store does not accept writes.
        """
        ...

    def open(self, key: str) -> AbstractAsyncContextManager[Reader]:
        """Open a blob for reading.

        Raises:
            NotFound: There is none.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove a blob; it is no error if there is none."""
        ...

    async def sweep(self, known: Known) -> int:
        """Remove what crashes left: unfinished writes, and blobs without a catalog entry.

        Writes under way, here or in another process, are left alone.

        Returns:
            How many leftovers were removed.
        """
        ...

    async def check(self) -> None:
        """Do nothing if the store answers and accepts writes.

        Raises:
            StorageUnavailable: It does not.
        """
        ...


@runtime_checkable
class SpaceReporting(Protocol):
    """A driver that knows how much more it can take."""

    async def free_space(self) -> int:
        """Give the bytes that may still be written."""
        ...


@runtime_checkable
class PathReporting(Protocol):
    """A driver whose blobs are files that another program may read."""

    def relative_path(self, key: str) -> str:
        """Give the path of a blob below the driver's directory; does no I/O.

        Whether the blob is there, only opening it tells. The file never changes: a blob that is
        deleted takes its path with it, and no other ever gets it.
        """
        ...
