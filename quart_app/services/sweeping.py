"""Removal of expired files and of leftovers: first proven, then set aside, then removed."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from quart_app.services.files import utc_now
from quart_app.services.identity import prove

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from quart_app.services.files import Files

__all__ = ["ORPHAN_AGE", "SET_ASIDE_DAYS", "Swept", "sweep"]

#: Age of a blob without an entry from which it is set aside. An upload writes its entry within
#: seconds of its last byte, a form within seconds of its last part.
ORPHAN_AGE = timedelta(days=1)

#: Days for which a blob stays set aside before it is removed.
SET_ASIDE_DAYS = timedelta(days=7)

#: Orphans that are set aside whatever their share, unless there is nothing else.
FEW_ORPHANS = 10

#: Inverse of the share of all blobs that a sweep sets aside at most.
SHARE_DIVISOR = 10

#: Orphans set aside in one sweep; the rest waits for the next sweep.
MOST_ORPHANS = 10_000


@dataclass(slots=True)
class Swept:
    """Result of a sweep, in numbers of files.

    Attributes:
        expired: Expired files that were deleted.
        unfinished: Unfinished writes of ended processes that were removed.
        orphans: Blobs without an entry, of any age.
        set_aside: Orphans that were set aside.
        restored: Blobs that were set aside and have an entry all the same.
        removed: Blobs that had been set aside for long, and were removed.
        refused: Whether the orphans were too large a share to be set aside.
    """

    expired: int = 0
    unfinished: int = 0
    orphans: int = 0
    set_aside: int = 0
    restored: int = 0
    removed: int = 0
    refused: bool = False


@dataclass(slots=True)
class _Census:
    """Counts of blobs, and the keys of the old orphans up to `MOST_ORPHANS`."""

    aside: int = 0
    blobs: int = 0
    orphans: int = 0
    old_count: int = 0
    old: list[str] = field(default_factory=list)

    @property
    def too_large_share(self) -> bool:
        """Whether setting the old orphans aside would leave too large a share there."""
        if not self.old_count:
            return False
        lost, everything = self.aside + self.old_count, self.aside + self.blobs
        return lost == everything or lost > max(FEW_ORPHANS, everything // SHARE_DIVISOR)


async def sweep(
    files: Files,
    *,
    dry_run: bool = False,
    force: bool = False,
    now: Callable[[], datetime] = utc_now,
) -> Swept:
    """Delete expired files, and remove what crashes left.

    Args:
        files: The files.
        dry_run: Only count; nothing is changed.
        force: Set orphans aside however many they are.
        now: Clock, in UTC.

    Raises:
        DataMismatch: Store and catalog do not belong together; nothing was removed.
        StorageError: The store fails.
        CatalogError: The catalog fails.
    """
    driver = files.store.driver
    await prove(driver, files.catalog)
    expired = files.catalog.count_expired(now=now()) if dry_run else files.delete_expired()
    swept = Swept(expired=await expired, unfinished=await driver.clean(dry_run=dry_run))
    aside = await _sweep_aside(files, swept, now(), dry_run=dry_run)
    census = await _census(files, aside, now())
    swept.orphans = census.orphans
    swept.refused = census.too_large_share and not force
    if not swept.refused:
        swept.set_aside = len(census.old)
        if not dry_run:
            await driver.set_aside(census.old, now().date())
    return swept


async def _sweep_aside(files: Files, swept: Swept, now: datetime, *, dry_run: bool) -> int:
    """Restore and remove blobs that were set aside; return how many without an entry stay."""
    driver, staying = files.store.driver, 0
    async with aclosing(driver.walk_aside()) as days:
        async for day, keys in days:
            known = await files.catalog.known(keys)
            gone = sorted(set(keys) - known) if now.date() - day > SET_ASIDE_DAYS else []
            staying += len(keys) - len(known) - len(gone)
            swept.restored += len(known)
            swept.removed += len(gone)
            if not dry_run:
                await driver.restore(sorted(known))
                await driver.delete(gone)
    return staying


async def _census(files: Files, aside: int, now: datetime) -> _Census:
    driver, census = files.store.driver, _Census(aside)
    async with aclosing(driver.walk()) as batches:
        async for keys in batches:
            census.blobs += len(keys)
            for key in sorted(set(keys) - await files.catalog.known(keys)):
                census.orphans += 1
                found = await driver.look(key)
                if found is not None and now - found.written_at > ORPHAN_AGE:
                    census.old_count += 1
                    if len(census.old) < MOST_ORPHANS:
                        census.old.append(key)
    return census
