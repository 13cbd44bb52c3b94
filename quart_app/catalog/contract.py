"""What a catalog promises, whatever holds its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from quart_app.models import File, Position

__all__ = ["Catalog"]


class Catalog(Protocol):
    """The rows of the stored files, one for each.

    Times are aware, in whole microseconds. A file is expired from its `expires_at` on: it is still
    known, but not found. A row that was written is found by every call that starts after the write
    returned, in this process and in others.

    Every method may raise `CatalogUnavailable` (the catalog does not answer, takes no writes, or is
    closed) and `CatalogError` (anything else). A write that fails has changed nothing; only after
    `CatalogUnavailable` it may still have been made, in whole, when the disk or the network broke
    while it was committed.

    Calls may be cancelled. A cancelled write is made in whole or not at all, perhaps a moment
    later; no cancelled call leaves a lock, a transaction, a task or a connection behind.
    """

    async def add(self, files: Sequence[File]) -> None:
        """Adds a row for each file, or none: durable when this returns.

        Args:
            files: New files; the caller has made their bytes durable, and their text is valid
                Unicode.

        Raises:
            CatalogError: One of the ids is taken.
            NoSpace: The rows do not fit the disk.
        """
        ...

    async def get(self, file_id: str, /, *, now: datetime) -> File | None:
        """Returns the file, or None when there is none or it is expired at `now`."""
        ...

    async def remove(self, ids: Sequence[str], /) -> set[str]:
        """Removes the rows of files, expired or not, in one commit: durable when this returns.

        Returns:
            The ids whose rows this call removed: each for exactly one of concurrent callers.

        Raises:
            NoSpace: The disk is full; removing takes a little room first.
        """
        ...

    async def page(self, *, limit: int, after: Position | None, now: datetime) -> list[File]:
        """Returns the files that follow a position, newest first, then by id from the highest.

        Walking the pages meets every file that was there throughout exactly once, whatever is
        added and removed meanwhile.

        Args:
            limit: Most files to return.
            after: Position of the last file of the page before; None for the first page.
            now: Moment at which an expired file is left out.
        """
        ...

    async def expired(self, *, now: datetime, limit: int) -> list[File]:
        """Returns up to `limit` files that are expired at `now`, longest expired first."""
        ...

    async def count_expired(self, *, now: datetime) -> int:
        """Returns the number of files that are expired at `now`."""
        ...

    async def known(self, ids: Sequence[str], /) -> set[str]:
        """Returns those of any number of ids that have a row, expired or not."""
        ...

    async def newest(self, limit: int) -> list[str]:
        """Returns the ids of the newest files, expired or not; none only of an empty catalog."""
        ...

    async def identity(self) -> str:
        """Returns the random text that a catalog is given when it is made."""
        ...

    async def adopt(self, identity: str) -> None:
        """Replaces the identity, durably, by that of the stored files the catalog belongs to."""
        ...

    async def ping(self) -> None:
        """Returns when the catalog answers.

        Raises:
            CatalogUnavailable: It does not.
        """
        ...

    async def close(self) -> None:
        """Waits for the calls under way, then lets go of everything; again does no harm."""
        ...
