"""A lost catalog made again from the records that lie beside the bytes."""

from __future__ import annotations

import hashlib
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quart_app.errors import DataMismatch
from quart_app.models import ByteRange, File
from quart_app.protocol.records import load_record
from quart_app.services.files import utc_now
from quart_app.services.identity import FOREIGN_CATALOG, SAMPLE_SIZE, require_files
from quart_app.streaming import computed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import datetime

    from quart_app.catalog import Catalog
    from quart_app.storage import Driver, Found

__all__ = ["Recovered", "recover"]

#: Media type of a file without a record.
UNKNOWN_TYPE = "application/octet-stream"


@dataclass(slots=True)
class Recovered:
    """Result of a recovery, in numbers of files.

    Attributes:
        listed: Files that are listed again.
        unrecorded: Of those, files without a record; each is named after its id.
        expired: Files left out, as they have expired.
        damaged: Files left out, as their length differs from their record.
    """

    listed: int = 0
    unrecorded: int = 0
    expired: int = 0
    damaged: int = 0


async def recover(
    driver: Driver,
    catalog: Catalog,
    *,
    dry_run: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Recovered:
    """List all stored files again that the catalog does not list.

    Must not run beside a service: the entry of an upload that is just ending would be written
    twice.

    Args:
        driver: The store.
        catalog: A new catalog, or the one that belongs to the store, perhaps from an older backup.
        dry_run: Only count; nothing is changed.
        now: Clock, in UTC.

    Raises:
        DataMismatch: The catalog lists files of another store, or files that are missing here;
            nothing was changed.
        StorageError: The store fails.
        CatalogError: The catalog fails.
    """
    identity, ours = await driver.identity(), await catalog.identity()
    newest = await catalog.newest(SAMPLE_SIZE)
    if identity not in {None, ours} and newest:
        raise DataMismatch(FOREIGN_CATALOG)
    if identity is None:
        await require_files(driver, newest)
    recovered = Recovered()
    async with aclosing(_batches(driver)) as batches:
        async for keys in batches:
            unknown = sorted(set(keys) - await catalog.known(keys))
            found = [await _file(driver, key, recovered, now()) for key in unknown]
            files = [file for file in found if file is not None]
            recovered.listed += len(files)
            if not dry_run:
                await driver.restore([file.id for file in files])
                await catalog.add(files)
    if not dry_run:
        await catalog.adopt(identity or ours)
        await driver.set_identity(identity or ours)
    return recovered


async def _batches(driver: Driver) -> AsyncGenerator[list[str]]:
    async with aclosing(driver.walk()) as batches:
        async for keys in batches:
            yield keys
    async with aclosing(driver.walk_aside()) as days:
        async for _, keys in days:
            yield keys


async def _file(driver: Driver, key: str, recovered: Recovered, now: datetime) -> File | None:
    found = await driver.look(key)
    if found is None:
        return None
    file = load_record(found.record) if found.record is not None else None
    if file is None or file.id != key:
        recovered.unrecorded += 1
        return await _without_record(driver, found)
    if file.size != found.size:
        recovered.damaged += 1
        return None
    if file.expires_at is not None and file.expires_at <= now:
        recovered.expired += 1
        return None
    return file


async def _without_record(driver: Driver, found: Found) -> File:
    digest = hashlib.sha256()
    async with (
        driver.open(found.key) as reader,
        aclosing(reader.chunks(ByteRange(0, reader.size))) as chunks,
    ):
        async for chunk in chunks:
            await computed(digest.update, chunk)
    return File(
        id=found.key,
        name=found.key,
        size=found.size,
        media_type=UNKNOWN_TYPE,
        sha256=digest.hexdigest(),
        created_at=found.written_at,
    )
