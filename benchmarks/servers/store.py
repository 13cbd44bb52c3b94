"""What every contender does with a file, so that only the way of its bytes differs.

SHA-256 while writing, a temporary file in the same directory, the length checked, fsync, rename,
fsync of the directory, then a row in SQLite that is on disk before the client is answered.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from types import TracebackType

HOME = Path(os.environ["BENCHMARK_DATA"])
FILES = HOME / "files"
FILES.mkdir(parents=True, exist_ok=True)
CATALOG = HOME / "catalog.db"

Chunk: TypeAlias = "bytes | bytearray | memoryview"

_TABLE = """CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, name TEXT, size INTEGER,
            media_type TEXT, sha256 TEXT, created_at TEXT)"""
_this = threading.local()

# Once and for all, for SQLite lets nobody wait whose journal another is about to change.
with closing(sqlite3.connect(CATALOG, timeout=30)) as _first:
    _first.execute("PRAGMA journal_mode = WAL")
    _first.execute(_TABLE)


def catalog() -> sqlite3.Connection:
    """This thread's own connection, for SQLite lets no two threads use one at a time."""
    if not hasattr(_this, "connection"):
        _this.connection = sqlite3.connect(CATALOG, timeout=30, isolation_level=None)
        _this.connection.execute("PRAGMA synchronous = FULL")
    connection: sqlite3.Connection = _this.connection
    return connection


def find(file_id: str) -> tuple[Path, str, str, str]:
    """Path, name, media type and SHA-256 of a stored file; LookupError where there is none."""
    query = "SELECT name, media_type, sha256 FROM files WHERE id = ?"
    row = catalog().execute(query, [file_id]).fetchone()
    if row is None:
        raise LookupError(file_id)
    return FILES / file_id, *row


class Incoming:
    """An upload on its way to disk; one that is never kept leaves nothing behind."""

    def __init__(self, length: int | None = None) -> None:
        self.id = secrets.token_urlsafe(16)
        self.length = length
        self.size = 0
        self.digest = hashlib.sha256()
        self.path = FILES / f".{self.id}.part"
        self.file = self.path.open("xb", buffering=0)

    def write(self, chunk: Chunk) -> None:
        self.digest.update(chunk)
        self.size += self.file.write(chunk)

    def keep(self, name: str, media_type: str | None) -> dict[str, Any]:
        """Make the file durable, then visible, then known."""
        if self.length not in (None, self.size):
            raise ValueError(f"{self.size} bytes came, {self.length} were declared")
        os.fsync(self.file.fileno())
        self.path.rename(FILES / self.id)
        directory = os.open(FILES, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        return self._entered(name, media_type or "application/octet-stream")

    def _entered(self, name: str, media_type: str) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        row = (self.id, name, self.size, media_type, self.digest.hexdigest(), now)
        catalog().execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?)", row)
        keys = ("id", "name", "size", "media_type", "sha256", "created_at")
        url = f"/files/{self.id}/{quote(name, safe='')}"
        return dict(zip(keys, row, strict=True)) | {"expires_at": None, "url": url}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.file.close()
        self.path.unlink(missing_ok=True)
