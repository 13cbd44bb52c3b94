"""What is known of the files, in SQLite; a row is on disk once `add` returns."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from benchmarks.servers.flask_app.settings import DATA
from quart_app.errors import CatalogUnavailable, NotFound
from quart_app.models import File, Position, from_microseconds, to_microseconds

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Rows fetched at once where the whole list is walked.
PAGE_ROWS = 500

TABLE = """
CREATE TABLE IF NOT EXISTS files (
    id TEXT PRIMARY KEY, name TEXT, size INTEGER, media_type TEXT, sha256 TEXT,
    created_at INTEGER, expires_at INTEGER
) WITHOUT ROWID
"""
INDEX = "CREATE INDEX IF NOT EXISTS newest ON files (created_at DESC, id DESC)"
ALIVE = "(expires_at IS NULL OR expires_at > ?)"

DATA.mkdir(parents=True, exist_ok=True)
_this_thread = threading.local()


@contextmanager
def _connection() -> Iterator[sqlite3.Connection]:
    """This thread's own connection, for SQLite lets no two threads use one at a time."""
    try:
        if not hasattr(_this_thread, "connection"):
            _this_thread.connection = _connected()
        yield _this_thread.connection
    except sqlite3.OperationalError as error:
        raise CatalogUnavailable from error


def _connected() -> sqlite3.Connection:
    connection = sqlite3.connect(DATA / "catalog.db", timeout=30, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(TABLE)
    connection.execute(INDEX)
    return connection


def add(files: list[File]) -> None:
    """Enter files, all or none."""
    rows = [
        (
            file.id,
            file.name,
            file.size,
            file.media_type,
            file.sha256,
            to_microseconds(file.created_at),
            None if file.expires_at is None else to_microseconds(file.expires_at),
        )
        for file in files
    ]
    with _connection() as connection:
        connection.execute("BEGIN IMMEDIATE")
        with connection:  # which commits, or rolls back
            connection.executemany("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def get(file_id: str) -> File:
    """Find a file; NotFound where there is none, or it has expired."""
    query = f"SELECT * FROM files WHERE id = ? AND {ALIVE}"
    with _connection() as connection:
        row = connection.execute(query, [file_id, _now()]).fetchone()
    if row is None:
        raise NotFound
    return _file(*row)


def page(limit: int, after: Position | None = None) -> list[File]:
    """List files, newest first, from behind a position."""
    query = f"SELECT * FROM files WHERE {ALIVE}"
    values: list[object] = [_now()]
    if after is not None:
        query += " AND (created_at, id) < (?, ?)"
        values += [to_microseconds(after.created_at), after.id]
    query += " ORDER BY created_at DESC, id DESC LIMIT ?"
    with _connection() as connection:
        return [_file(*row) for row in connection.execute(query, [*values, limit])]


def walk() -> Iterator[File]:
    """Give all files, newest first, holding a page at a time."""
    after = None
    while files := page(PAGE_ROWS, after):
        yield from files
        after = files[-1].position


def remove(file_id: str) -> None:
    with _connection() as connection:
        if not connection.execute("DELETE FROM files WHERE id = ?", [file_id]).rowcount:
            raise NotFound


def _now() -> int:
    return to_microseconds(datetime.now(UTC))


def _file(
    file_id: str,
    name: str,
    size: int,
    media_type: str,
    sha256: str,
    created_at: int,
    expires_at: int | None,
) -> File:
    expiry = None if expires_at is None else from_microseconds(expires_at)
    created = from_microseconds(created_at)
    return File(file_id, name, size, media_type, sha256, created, expiry)
