"""Files for catalogs, and the back door of the one in SQLite."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from quart_app.models import File

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from quart_app.catalog import Catalog

NOW = datetime(2031, 2, 3, 4, 5, 6, 789_012, tzinfo=UTC)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)

_numbers = count()


def make(created_at: datetime = NOW, expires_at: datetime | None = None) -> File:
    number = next(_numbers)
    return File(
        id=f"file-{number:08}",
        name="Grüße 👋.txt",
        size=number,
        media_type="text/plain; charset=utf-8",
        sha256=f"{number:064x}",
        created_at=created_at,
        expires_at=expires_at,
    )


async def walk(catalog: Catalog, limit: int) -> AsyncIterator[list[File]]:
    after = None
    while page := await catalog.page(limit=limit, after=after, now=NOW):
        yield page
        after = page[-1].position


async def listed(catalog: Catalog) -> list[File]:
    return await catalog.page(limit=10_000, after=None, now=NOW)


def assert_nothing_runs() -> None:
    """No task but the caller's, no thread of a catalog."""
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert [t for t in threading.enumerate() if t.name.startswith("quart-app-catalog")] == []


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """The back door."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with raw(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def count_rows(path: Path) -> int:
    with raw(path) as connection:
        number: int = connection.execute("SELECT count(*) FROM files").fetchone()[0]
    return number
