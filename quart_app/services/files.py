"""Files from their arrival to their end: bytes first, entry after; entry first, bytes last."""

from __future__ import annotations

from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog

from quart_app.errors import CatalogBusy, CatalogUnavailable, NotFound, StorageError
from quart_app.models import File
from quart_app.protocol.names import SNIFF_SIZE, guess_media_type
from quart_app.protocol.records import dump_record
from quart_app.streaming import tee_head, uninterrupted

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterable,
        AsyncIterator,
        Callable,
        Mapping,
        Sequence,
    )

    from quart_app.catalog import Catalog
    from quart_app.models import Position
    from quart_app.storage import Blob, Measured, Reader, Store

__all__ = ["Files", "Upload"]

LOG = structlog.get_logger("quart_app.files")

#: Rows fetched at once where a whole list is walked.
PAGE_ROWS = 500

#: Expired files deleted at once, with one commit.
BATCH_ROWS = 500


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
    """Return the current time, UTC."""
    return datetime.now(UTC)


class Files:
    """Stores, finds, lists and deletes files.

    Args:
        store: Holds the bytes.
        catalog: Holds an entry for each file.
        now: Clock, in UTC.
    """

    def __init__(
        self, store: Store, catalog: Catalog, now: Callable[[], datetime] = utc_now
    ) -> None:
        self.store = store
        self.catalog = catalog
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
        arrived: list[File] = []
        async with AsyncExitStack() as stack:
            blobs: list[Blob] = []
            async for upload in uploads:
                head = bytearray()
                describe = self._describing(upload, head, arrived)
                async with aclosing(tee_head(upload.chunks, head, SNIFF_SIZE)) as chunks:
                    put = self.store.put(chunks, upload.digests, describe)
                    blobs.append((await stack.enter_async_context(put)).blob)
            await uninterrupted(self._enter(arrived, blobs))
        return arrived

    async def add_one(self, upload: Upload) -> File:
        """Store one file; raises as `add` does."""
        return (await self.add(_alone(upload)))[0]

    def _describing(
        self, upload: Upload, head: bytearray, arrived: list[File]
    ) -> Callable[[Measured], bytes]:
        """Return a function that adds the file of an upload to a list, and returns its record."""

        def describe(measured: Measured) -> bytes:
            now, complete = self._now(), len(head) == measured.size
            guessed = guess_media_type(upload.name, bytes(head), complete=complete)
            head.clear()  # a form has many files, and this function lives as long as the form
            file = File(
                id=measured.key,
                name=upload.name,
                size=measured.size,
                media_type=upload.media_type or guessed,
                sha256=measured.sha256,
                created_at=now,
                expires_at=None if upload.lifetime is None else now + upload.lifetime,
            )
            arrived.append(file)
            return dump_record(file)

        return describe

    async def _enter(self, arrived: list[File], blobs: list[Blob]) -> None:
        try:
            await self.catalog.add(arrived)
        except CatalogUnavailable as error:
            if not isinstance(error, CatalogBusy):  # the rows may be there all the same
                _keep(blobs)
            raise
        _keep(blobs)

    async def get(self, file_id: str) -> File:
        """Find a file.

        Raises:
            NotFound: There is none, or it has expired.
        """
        file = await self.catalog.get(file_id, now=self._now())
        if file is None:
            raise NotFound
        return file

    @asynccontextmanager
    async def open(self, file: File) -> AsyncIterator[Reader]:
        """Open the bytes of a file.

        Raises:
            NotFound: The file was deleted meanwhile, or its bytes are missing.
        """
        async with AsyncExitStack() as stack:
            try:
                reader = await stack.enter_async_context(self.store.open(file.id))
            except NotFound:
                await self._report_missing(file)
                raise
            yield reader

    async def require_bytes(self, file: File) -> None:
        """Return if the bytes of a file are there.

        Raises:
            NotFound: The file was deleted meanwhile, or its bytes are missing.
        """
        if not await self.store.exists(file.id):
            await self._report_missing(file)
            raise NotFound

    async def _report_missing(self, file: File) -> None:
        if await self.catalog.known([file.id]):
            LOG.error("bytes are missing", id=file.id, size=file.size)

    def relative_path(self, file: File) -> str | None:
        """Return the path of a file's bytes as `PathReporting` does, or None."""
        return self.store.relative_path(file.id)

    async def page(self, *, limit: int, after: Position | None = None) -> list[File]:
        """List files, newest first.

        Args:
            limit: Most files to give.
            after: Where the page before ended.
        """
        return await self.catalog.page(limit=limit, after=after, now=self._now())

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
        if not await uninterrupted(self._remove([file_id])):
            raise NotFound

    async def delete_expired(self) -> int:
        """Delete the files that have expired, a batch at a time; return their number."""
        removed = 0
        while files := await self.catalog.expired(now=self._now(), limit=BATCH_ROWS):
            removed += await uninterrupted(self._remove([file.id for file in files]))
        return removed

    async def _remove(self, ids: Sequence[str]) -> int:
        await (
            self.store.check()
        )  # else the entries would go, and the bytes come back with the volume
        # A crash between the two leaves bytes without an entry, which the sweep finds.
        removed = sorted(await self.catalog.remove(ids))
        try:
            await self.store.delete(removed)
        except StorageError as error:
            LOG.warning("bytes left to the sweep", ids=removed[:10], cause=repr(error.__cause__))
        return len(removed)

    async def check(self) -> None:
        """Do nothing if storage and catalog answer.

        Raises:
            StorageUnavailable: Storage does not answer or accept writes.
            CatalogUnavailable: The catalog does not answer.
        """
        await self.store.check()
        await self.catalog.ping()


def _keep(blobs: list[Blob]) -> None:
    for blob in blobs:
        blob.keep()


async def _alone(upload: Upload) -> AsyncGenerator[Upload]:
    yield upload
