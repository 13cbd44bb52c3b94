"""Proof that a catalog and a store of bytes belong together.

Both carry one random identity. Without the proof, a sweep would take every file for a leftover
when the catalog was lost, swapped or restored, or when another volume was mounted.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from quart_app.errors import DataMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from quart_app.catalog import Catalog
    from quart_app.storage import Driver

__all__ = [
    "FOREIGN_CATALOG",
    "LOST_CATALOG",
    "MISSING_FILES",
    "SAMPLE_SIZE",
    "has_blobs",
    "join",
    "prove",
    "require_files",
]

LOST_CATALOG = (
    "Files are stored here that no catalog lists. Restore catalog.db from a backup, or list the "
    "files again with `quart-app recover`."
)
MISSING_FILES = (
    "The catalog lists files that are not stored here. Mount the volume that holds them, or "
    "restore them from a backup. To begin anew, move catalog.db away."
)
FOREIGN_CATALOG = (
    "The catalog belongs to other stored files. Bring together the catalog and the files that "
    "belong to each other, or move catalog.db away and run `quart-app recover`."
)

#: Newest files that must have their bytes where a store without an identity is joined.
SAMPLE_SIZE = 100


async def prove(driver: Driver, catalog: Catalog) -> None:
    """Return if store and catalog have the same identity.

    Raises:
        DataMismatch: They do not belong together.
    """
    if await driver.identity() != await catalog.identity():
        raise DataMismatch(FOREIGN_CATALOG)


async def join(driver: Driver, catalog: Catalog) -> None:
    """Prove that store and catalog belong together, or mark two new ones.

    Stores of versions before 0.2 have no identity. Such a store gets one if it holds the bytes of
    most of the newest files of the catalog.

    Raises:
        DataMismatch: They do not belong together; nothing was changed.
    """
    stored, expected = await driver.identity(), await catalog.identity()
    if stored == expected:
        return
    newest = await catalog.newest(SAMPLE_SIZE)
    if not newest and await has_blobs(driver):
        if await driver.identity() == expected:  # another worker has just joined them
            return
        raise DataMismatch(LOST_CATALOG)
    if newest and stored is not None:
        raise DataMismatch(FOREIGN_CATALOG)
    await require_files(driver, newest)
    await driver.set_identity(expected)


async def require_files(driver: Driver, keys: Sequence[str]) -> None:
    """Return if a store holds most of some blobs, or if there are none to look for.

    Raises:
        DataMismatch: It does not, so its volume may not be mounted.
    """
    present = sum([await driver.look(key) is not None for key in keys])
    if 2 * present < len(keys):
        raise DataMismatch(MISSING_FILES)


async def has_blobs(driver: Driver) -> bool:
    """Return whether a store holds any blob."""
    async with aclosing(driver.walk()) as batches:
        async for keys in batches:
            if keys:
                return True
    return False
