"""SQLite through aiosqlite, with a whole statement in one visit to the connection's thread.

aiosqlite makes a visit for each step (open, execute, fetch, close), and a visit costs more than
most statements of the catalog.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["connect"]


def connect(path: str, *, pragmas: Sequence[str], **options: Any) -> aiosqlite.Connection:
    """Returns a connection to await, for SQLAlchemy's `async_creator_fn`.

    Args:
        path: The file, made if there is none.
        pragmas: What to set on the connection, as `name=value`.
        options: For `sqlite3.connect`.
    """
    return _Connection(partial(_open, path, pragmas, **options), iter_chunk_size=1)


def _open(path: str, pragmas: Sequence[str], **options: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = sqlite3.connect(path, **options)
    try:
        for pragma in pragmas:
            _set(connection, pragma)
    except BaseException:
        connection.close()
        raise
    return connection


def _set(connection: sqlite3.Connection, pragma: str) -> None:
    try:
        connection.execute(f"PRAGMA {pragma}")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        # Of those that turn a new file to WAL at once, all but one fail without waiting for it.
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
        connection.execute(f"PRAGMA {pragma}")


class _Connection(aiosqlite.Connection):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # As SQLAlchemy does with those it makes: one that is forgotten must not keep us alive.
        self._thread.daemon = True

    async def _connect(self) -> aiosqlite.Connection:
        try:
            return await super()._connect()
        except BaseException:
            # Told to stop, the thread reports once more, to a loop that may be closed by then.
            self._thread.join()
            raise

    def cursor(self) -> _Cursor:  # type: ignore[override]
        return _Cursor(self)

    async def run(self, cursor: _Cursor, method: str, sql: str, parameters: Sequence[Any]) -> None:
        visit = partial(cursor.run, self._conn, method, sql, parameters)
        await self._execute(visit)  # type: ignore[no-untyped-call]


class _Cursor:
    """What SQLAlchemy asks of a cursor."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rows: list[Any] = []
        self.description: Any = None
        self.lastrowid: int | None = None
        self.rowcount = -1

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._connection.run(self, "execute", sql, parameters)

    async def executemany(self, sql: str, parameters: Sequence[Any]) -> None:
        await self._connection.run(self, "executemany", sql, parameters)

    async def fetchall(self) -> list[Any]:
        return self._rows

    async def close(self) -> None:
        """Does nothing: `run` has closed it."""

    def run(
        self, connection: sqlite3.Connection, method: str, sql: str, parameters: Sequence[Any]
    ) -> None:
        with closing(connection.cursor()) as cursor:
            getattr(cursor, method)(sql, parameters)
            self.description, self.lastrowid = cursor.description, cursor.lastrowid
            self.rowcount, self._rows = cursor.rowcount, cursor.fetchall()
