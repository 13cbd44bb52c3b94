"""A catalog in a SQL database."""

from __future__ import annotations

import asyncio
from itertools import chain
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import Integer, bindparam, delete, func, insert, or_, select, tuple_, update

from quart_app.catalog import tables
from quart_app.catalog.connections import Connections
from quart_app.catalog.engine import reading, translated, writing
from quart_app.catalog.group import Group
from quart_app.catalog.migrate import migrate
from quart_app.catalog.reserve import Reserve
from quart_app.errors import CatalogBusy, CatalogError, CatalogUnavailable, NoSpace
from quart_app.models import File
from quart_app.streaming import PinnedPath, in_thread

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from pathlib import Path
    from typing import Self

    from sqlalchemy import Connection, Executable

    from quart_app.models import Position

__all__ = ["SqlCatalog"]

READ_CONNECTIONS = 4
IDS_PER_QUERY = 900  # SQLite before 3.32 takes 999 parameters

# Made once: SQLAlchemy finds what it compiled by the statement.
_table = tables.files
_c = _table.c
_position = tuple_(_c.created_at, _c.id)
_after = tuple_(bindparam("created_at", type_=tables.Moment), bindparam("id"))
_limit = bindparam("limit", type_=Integer)

ADD = insert(_table)
REMOVE = delete(_table).where(_c.id == bindparam("key"))
ALIVE = select(_table).where(or_(_c.expires_at.is_(None), _c.expires_at > bindparam("now")))
GET = ALIVE.where(_c.id == bindparam("key"))
PAGE = ALIVE.order_by(_c.created_at.desc(), _c.id.desc()).limit(_limit)
NEXT_PAGE = PAGE.where(_position < _after)
GONE = select(_table).where(_c.expires_at <= bindparam("now"))
EXPIRED = GONE.order_by(_c.expires_at).limit(_limit)
KNOWN = select(_c.id).where(_c.id.in_(bindparam("keys", expanding=True)))
ANY = select(_c.id).limit(1)
COUNT_EXPIRED = select(func.count()).select_from(GONE.subquery())
NEWEST = select(_c.id).order_by(_c.created_at.desc(), _c.id.desc()).limit(_limit)
IDENTITY = select(tables.identities.c.identity)
ADOPT = update(tables.identities).values(identity=bindparam("new"))

_names = _c.keys()
_values = attrgetter(*_names)


class SqlCatalog:
    """A `Catalog` in a SQLite file, which any number of processes may share.

    Adding and removing wait for the disk together with whoever else does; see `Group`.

    Args:
        path: A file with the newest tables, as `open` leaves it.
    """

    def __init__(self, path: Path) -> None:
        whole = path.absolute()
        database = PinnedPath(whole)
        companions = [PinnedPath(_beside(whole, suffix)) for suffix in ("-wal", "-shm")]
        self._readers = Connections(reading(path), READ_CONNECTIONS, database, companions)
        self._writer = Connections(writing(path), 1, database, companions)
        self._adds = Group(self._insert)
        self._removals = Group(self._delete)
        self._reserve = Reserve(_beside(path, "-reserve"))
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Returns a catalog, its tables made or brought to the newest revision first.

        Args:
            path: A file, made if there is none, in a directory that exists.

        Raises:
            CatalogUnavailable: The file cannot be opened or written.
            NoSpace: The disk is full.
            CatalogError: The file is no database, or one of a newer version.
        """
        await in_thread(_migrate, path)
        return cls(path)

    async def add(self, files: Sequence[File]) -> None:
        """Adds a row for each file, or none; see `Catalog.add`."""
        self._check_open()
        if files:
            await self._adds.submit(files)

    async def get(self, file_id: str, /, *, now: datetime) -> File | None:
        """Returns the file, unless it is expired; see `Catalog.get`."""
        found = await self._files(GET, key=file_id, now=now)
        return found[0] if found else None

    async def remove(self, ids: Sequence[str], /) -> set[str]:
        """Removes the rows of files; see `Catalog.remove`."""
        self._check_open()
        try:
            return await self._removals.submit(ids)
        except NoSpace:
            if not await self._writer.run(lambda _: self._reserve.release()):
                raise
            return await self._removals.submit(ids)

    async def page(self, *, limit: int, after: Position | None, now: datetime) -> list[File]:
        """Returns the files that follow a position, newest first; see `Catalog.page`."""
        if after is None:
            return await self._files(PAGE, limit=limit, now=now)
        return await self._files(
            NEXT_PAGE, limit=limit, now=now, created_at=after.created_at, id=after.id
        )

    async def expired(self, *, now: datetime, limit: int) -> list[File]:
        """Returns expired files, longest expired first; see `Catalog.expired`."""
        return await self._files(EXPIRED, limit=limit, now=now)

    async def known(self, ids: Sequence[str], /) -> set[str]:
        """Returns those of the ids that have a row; see `Catalog.known`."""
        chunks = (ids[i : i + IDS_PER_QUERY] for i in range(0, len(ids), IDS_PER_QUERY))
        return {row[0] for chunk in chunks for row in await self._rows(KNOWN, keys=chunk)}

    async def count_expired(self, *, now: datetime) -> int:
        """Returns the number of expired files; see `Catalog.count_expired`."""
        [[count]] = await self._rows(COUNT_EXPIRED, now=now)
        return int(count)

    async def newest(self, limit: int) -> list[str]:
        """Returns the ids of the newest files; see `Catalog.newest`."""
        return [row[0] for row in await self._rows(NEWEST, limit=limit)]

    async def identity(self) -> str:
        """Returns the identity; see `Catalog.identity`."""
        [[identity]] = await self._rows(IDENTITY)
        return str(identity)

    async def adopt(self, identity: str) -> None:
        """Replaces the identity; see `Catalog.adopt`."""
        self._check_open()

        def job(connection: Connection) -> None:
            with connection.begin():
                connection.execute(ADOPT, {"new": identity})

        await self._writer.run(job)

    async def ping(self) -> None:
        """Returns when the table can be read; see `Catalog.ping`."""
        try:
            await self._rows(ANY)
        except CatalogError as error:
            raise CatalogUnavailable from error

    async def close(self) -> None:
        """Waits for the calls under way and closes every connection; see `Catalog.close`."""
        self._closing = self._closing or asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        await self._adds.idle()
        await self._removals.idle()
        await self._readers.close()
        await self._writer.close()  # the last, which takes the WAL back into the file

    def _check_open(self) -> None:
        if self._closing:
            raise CatalogUnavailable

    async def _files(self, query: Executable, **values: Any) -> list[File]:
        return [File(*row) for row in await self._rows(query, **values)]

    async def _rows(self, query: Executable, **values: Any) -> Sequence[Sequence[Any]]:
        self._check_open()
        return await self._readers.run(lambda connection: connection.execute(query, values).all())

    async def _insert(self, batches: list[Sequence[File]]) -> list[None]:
        def job(connection: Connection) -> None:
            if not self._reserve.hold():
                raise NoSpace
            rows = [dict(zip(_names, _values(file), strict=True)) for file in chain(*batches)]
            with connection.begin():
                connection.execute(ADD, rows)

        await self._writer.run(job)
        return [None] * len(batches)

    async def _delete(self, batches: list[Sequence[str]]) -> list[set[str]]:
        def job(connection: Connection) -> list[set[str]]:
            with connection.begin():
                removed = [
                    {key for key in keys if connection.execute(REMOVE, {"key": key}).rowcount == 1}
                    for keys in batches
                ]
            self._reserve.hold()
            return removed

        return await self._writer.run(job)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _migrate(path: Path) -> None:
    """Migrate, on a full disk with the space held back."""
    reserve = Reserve(_beside(path, "-reserve"))
    try:
        with translated():
            migrate(path)
    except CatalogBusy:
        raise
    except (NoSpace, CatalogUnavailable):  # SQLite reports its auxiliary files as an I/O error
        if not reserve.release():
            raise
        with translated():
            migrate(path)
    else:
        reserve.hold()
