"""The files of a data directory, opened by the service and by the commands that look after it."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from typing import TYPE_CHECKING

from quart_app.catalog import MemoryCatalog, SqlCatalog
from quart_app.errors import CannotStart, DataMismatch, QuartAppError
from quart_app.services import LOST_CATALOG, MISSING_FILES, Files, has_blobs
from quart_app.storage import LocalDriver, Store
from quart_app.streaming import in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from quart_app.catalog import Catalog
    from quart_app.settings import Settings

__all__ = ["WithoutCatalog", "cannot_use", "open_files"]

#: Directories that the service makes are for its user and group alone.
DIRECTORY_MODE = 0o750


class WithoutCatalog(Enum):
    """Treatment of a data directory that holds files and no catalog."""

    REFUSE = auto()
    MAKE = auto()
    PRETEND = auto()


@asynccontextmanager
async def open_files(
    settings: Settings, without_catalog: WithoutCatalog = WithoutCatalog.REFUSE
) -> AsyncIterator[Files]:
    """Open storage and catalog of the data directory, and close them at the end.

    Args:
        settings: The data directory, and limits.
        without_catalog: Where files are stored and there is no catalog: refuse, make a catalog on
            the disk, or use one in memory and leave the disk as it is.

    Raises:
        DataMismatch: Files are stored and there is no catalog, or the directory of the files is
            missing beside a catalog; nothing was changed.
        OSError: The directory cannot be made.
        StorageError: Storage fails.
        CatalogError: The catalog fails.
    """
    blobs, database = settings.data / "files", settings.data / "catalog.db"
    if not await in_thread(blobs.exists) and await in_thread(_has_content, database):
        raise DataMismatch(MISSING_FILES)
    await in_thread(_make_directories, settings.data, blobs)
    driver = LocalDriver(blobs, min_free=settings.min_free_space)
    try:
        # In this order: a worker that starts at the same time makes the catalog first.
        lost = await has_blobs(driver) and not await in_thread(_has_content, database)
        if lost and without_catalog is WithoutCatalog.REFUSE:
            raise DataMismatch(LOST_CATALOG)
        pretended = lost and without_catalog is WithoutCatalog.PRETEND
        catalog: Catalog = MemoryCatalog() if pretended else await SqlCatalog.open(database)
        try:
            yield Files(Store(driver, max_size=settings.max_upload_size), catalog)
        finally:
            await catalog.close()
    finally:
        await driver.close()


def cannot_use(settings: Settings, error: OSError | QuartAppError) -> CannotStart:
    """Return the error that ends a command whose data directory cannot be used."""
    if isinstance(error, QuartAppError) and error.detail:
        return CannotStart(f"cannot use {settings.data}: {error.detail}")
    cause = error.__cause__ or error
    text = cause.strerror if isinstance(cause, OSError) else None
    return CannotStart(f"cannot use {settings.data}: {text or str(cause).partition(chr(10))[0]}")


def _make_directories(data: Path, blobs: Path) -> None:
    with suppress(FileExistsError):  # perhaps a file: the next line fails then
        data.mkdir(DIRECTORY_MODE, parents=True)
    blobs.mkdir(DIRECTORY_MODE, exist_ok=True)


def _has_content(path: Path) -> bool:
    return path.exists() and path.stat().st_size > 0
