"""Files from their arrival to their end: bytes first, entry after; entry first, bytes last."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from quart_app.errors import CatalogUnavailable, NotFound, StorageError
from quart_app.models import File
from quart_app.protocol.names import SNIFF_SIZE, guess_media_type
from quart_app.streaming import tee_head, uninterrupted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from quart_app.catalog import Catalog
    from quart_app.models import Position
    from quart_app.storage import Reader, Store, Stored

__all__ = ["Files", "Upload"]

LOG = structlog.get_logger("quart_app.files")

#: Rows fetched at once where a whole list is walked.
PAGE_ROWS = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way in.

    Attributes:
        chunks: Its bytes, read once.
        name: Display name.
        media_type: Media type that the client states, or None: guessed from name and first bytes.
        digests: Digests it must have, by their names in RFC 9530.
        lifetime: How long it is kept, or None for ever.
    """

    chunks: AsyncIterable[bytes]
    name: str
    media_type: str | None
    digests: Mapping[str, bytes] = field(default_factory=dict)
    lifetime: timedelta | None = None


def utc_now() -> datetime:
    """Give the current time, UTC."""
    return datetime.now(UTC)


class Files:
    """Stores, finds, lists and deletes files.

    Args:
        store: Keeps the bytes.
        catalog: Keeps what is known of them.
        now: Clock, in UTC.
    """

    def __init__(
        self, store: Store, catalog: Catalog, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.store = store
        self._catalog = catalog
        self._now = now

    async def add(self, uploads: AsyncIterable[Upload]) -> list[File]:
        """Store files: all, listed together once their bytes are durable, or none.

        Args:
            uploads: Each is read to its end before the next is asked for.

        Raises:
            BodyError: As the uploads' chunks raise.
            TooLarge: A file passes the limit.
            DigestMismatch: A file does not have its declared digest.
            StorageError: The bytes cannot be kept.
            CatalogError: The entries cannot be written.
        """
        async with AsyncExitStack() as stack:
            arrived: list[tuple[File, Stored]] = []
            async for upload in uploads:
                head = bytearray()
                chunks = tee_head(upload.chunks, head, SNIFF_SIZE)
                await stack.enter_async_context(aclosing(chunks))
                stored = await stack.enter_async_context(self.store.put(chunks, upload.digests))
                arrived.append((self._file(upload, stored, bytes(head)), stored))
            await uninterrupted(self._enter(arrived))
        return [file for file, _ in arrived]

    async def add_one(self, upload: Upload) -> File:
        """Store one file; raises as `add` does."""
        return (await self.add(_alone(upload)))[0]

    def _file(self, upload: Upload, stored: Stored, head: bytes) -> File:
        now, complete = self._now(), len(head) == stored.size
        expires_at = None if upload.lifetime is None else now + upload.lifetime
        return File(
            id=stored.key,
            name=upload.name,
            size=stored.size,
            media_type=upload.media_type or guess_media_type(upload.name, head, complete=complete),
            sha256=stored.sha256,
            created_at=now,
            expires_at=expires_at,
        )

    async def _enter(self, arrived: list[tuple[File, Stored]]) -> None:
        try:
            await self._catalog.add([file for file, _ in arrived])
        except CatalogUnavailable:
            # The rows may be there all the same: only the sweep can tell, and removes the bytes.
            _keep(arrived)
            raise
        _keep(arrived)

    async def get(self, file_id: str) -> File:
        """Find a file.

        Raises:
            NotFound: There is none, or it has expired.
        """
        file = await self._catalog.get(file_id, now=self._now())
        if file is None:
            raise NotFound
        return file

    def open(self, file: File) -> AbstractAsyncContextManager[Reader]:
        """Open the bytes of a file.

        Raises:
            NotFound: It was deleted meanwhile.
        """
        return self.store.open(file.id)

    def relative_path(self, file: File) -> str | None:
        """Give the path of a file's bytes as `PathReporting` does, or None where there is none."""
        return self.store.relative_path(file.id)

    async def page(self, *, limit: int, after: Position | None = None) -> list[File]:
        """List files, newest first.

        Args:
            limit: Most files to give.
            after: Where the page before ended.
        """
        return await self._catalog.page(limit=limit, after=after, now=self._now())

    async def all(self) -> AsyncGenerator[File]:
        """Walk all files, newest first, holding a page at a time."""
        after = None
        while files := await self.page(limit=PAGE_ROWS, after=after):
            for file in files:
                yield file
            after = files[-1].position

    async def delete(self, file_id: str) -> None:
        """Delete a file.

        Raises:
            NotFound: There is none, or it has expired.
        """
        await self.get(file_id)
        if not await uninterrupted(self._remove(file_id)):
            raise NotFound

    async def _remove(self, file_id: str) -> bool:
        # A crash between the two leaves bytes that nobody knows, for the sweep.
        if not await self._catalog.remove(file_id):
            return False
        try:
            await self.store.delete(file_id)
        except StorageError as error:
            LOG.warning("bytes left to the sweep", id=file_id, cause=repr(error.__cause__))
        return True

    async def sweep(self) -> int:
        """Remove expired files and what crashes left.

        Returns:
            How many files and leftovers were removed.
        """
        removed = 0
        while files := await self._catalog.expired(now=self._now(), limit=PAGE_ROWS):
            for file in files:
                removed += await self._remove(file.id)
        return removed + await self.store.sweep(self._catalog.known)

    async def check(self) -> None:
        """Do nothing if storage and catalog answer.

        Raises:
            StorageUnavailable: Storage does not answer or accept writes.
            CatalogUnavailable: The catalog does not answer.
        """
        await self.store.check()
        await self._catalog.ping()


def _keep(arrived: list[tuple[File, Stored]]) -> None:
    for _, stored in arrived:
        stored.blob.keep()


async def _alone(upload: Upload) -> AsyncGenerator[Upload]:
    yield upload
