"""A catalog in a dict, for tests and for services that keep nothing."""

from __future__ import annotations

import secrets
from operator import attrgetter
from typing import TYPE_CHECKING

from quart_app.errors import CatalogError, CatalogUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from quart_app.models import File, Position

__all__ = ["MemoryCatalog"]


class MemoryCatalog:
    """A `Catalog` whose rows live as long as it does; no call of it waits."""

    def __init__(self) -> None:
        self._rows: dict[str, File] | None = {}
        self._identity = secrets.token_hex(16)

    @property
    def _files(self) -> dict[str, File]:
        if self._rows is None:
            raise CatalogUnavailable
        return self._rows

    async def add(self, files: Sequence[File]) -> None:
        """Adds a row for each file, or none; see `Catalog.add`."""
        new = {file.id: file for file in files}
        if len(new) < len(files) or new.keys() & self._files.keys():
            raise CatalogError
        self._files.update(new)

    async def get(self, file_id: str, /, *, now: datetime) -> File | None:
        """Returns the file, unless it is expired; see `Catalog.get`."""
        file = self._files.get(file_id)
        return None if file is None or _is_expired(file, now) else file

    async def remove(self, ids: Sequence[str], /) -> set[str]:
        """Removes the rows of files; see `Catalog.remove`."""
        return {file_id for file_id in ids if self._files.pop(file_id, None) is not None}

    async def page(self, *, limit: int, after: Position | None, now: datetime) -> list[File]:
        """Returns the files that follow a position, newest first; see `Catalog.page`."""
        following = (
            file
            for file in self._files.values()
            if not _is_expired(file, now) and (after is None or file.position < after)
        )
        return sorted(following, key=attrgetter("position"), reverse=True)[:limit]

    async def expired(self, *, now: datetime, limit: int) -> list[File]:
        """Returns expired files, longest expired first; see `Catalog.expired`."""
        dated = ((file.expires_at, file) for file in self._files.values() if file.expires_at)
        gone = sorted((pair for pair in dated if pair[0] <= now), key=lambda pair: pair[0])
        return [file for _, file in gone[:limit]]

    async def count_expired(self, *, now: datetime) -> int:
        """Returns the number of expired files."""
        return sum(_is_expired(file, now) for file in self._files.values())

    async def newest(self, limit: int) -> list[str]:
        """Returns the ids of the newest files; see `Catalog.newest`."""
        newest = sorted(self._files.values(), key=attrgetter("position"), reverse=True)
        return [file.id for file in newest[:limit]]

    async def identity(self) -> str:
        """Returns the identity; see `Catalog.identity`."""
        return self._identity

    async def adopt(self, identity: str) -> None:
        """Replaces the identity; see `Catalog.adopt`."""
        self._identity = identity

    async def known(self, ids: Sequence[str], /) -> set[str]:
        """Returns those of the ids that have a row; see `Catalog.known`."""
        return self._files.keys() & set(ids)

    async def ping(self) -> None:
        """Returns, unless the catalog is closed."""
        _ = self._files

    async def close(self) -> None:
        """Forgets every row."""
        self._rows = None


def _is_expired(file: File, now: datetime) -> bool:
    return file.expires_at is not None and file.expires_at <= now
