"""What differs between databases: how to connect, how a write begins, what their errors mean."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from alembic.util import CommandError
from sqlalchemy import NullPool, event, make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from quart_app.catalog.sqlite import connect
from quart_app.errors import CatalogError, CatalogUnavailable, NoSpace, QuartAppError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

__all__ = ["reading", "translated", "writing"]

BUSY_TIMEOUT_SECONDS = 10.0

READ_PRAGMAS = ["query_only=ON"]
# WAL: readers wait for no writer. FULL: what is committed survives a loss of power.
WRITE_PRAGMAS = ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"]

# By primary result code, https://www.sqlite.org/rescode.html; any other is a CatalogError.
FAULTS: dict[int, type[QuartAppError]] = {
    sqlite3.SQLITE_BUSY: CatalogUnavailable,
    sqlite3.SQLITE_CANTOPEN: CatalogUnavailable,
    sqlite3.SQLITE_FULL: NoSpace,
    sqlite3.SQLITE_IOERR: CatalogUnavailable,
    sqlite3.SQLITE_LOCKED: CatalogUnavailable,
    sqlite3.SQLITE_READONLY: CatalogUnavailable,
}


def reading(url: str) -> AsyncEngine:
    """Returns an engine without transactions: each query sees what is committed by then.

    Args:
        url: `sqlite:///` and the path of a file that an engine for writing has made.
    """
    return _sqlite(url, READ_PRAGMAS, skip_autocommit_rollback=True)


def writing(url: str) -> AsyncEngine:
    """Returns an engine whose transactions exclude all other writers from their beginning.

    Args:
        url: `sqlite:///` and the path of a file in a directory that exists.
    """
    engine = _sqlite(url, WRITE_PRAGMAS)

    # A transaction that only turns to writing later fails at once when another one writes.
    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Turns what SQLAlchemy and Alembic raise into errors of this package.

    Raises:
        CatalogUnavailable: The database is locked, read-only, or cannot be opened, read or written.
        NoSpace: The disk is full.
        CatalogError: Anything else.
    """
    try:
        yield
    except (SQLAlchemyError, CommandError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else None
        # The low byte of an extended result code is the primary one.
        code = getattr(cause, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        raise FAULTS.get(code, CatalogError) from error


def _sqlite(url: str, pragmas: list[str], **options: Any) -> AsyncEngine:
    return create_async_engine(
        make_url(url).set(drivername="sqlite+aiosqlite"),
        connect_args={
            "async_creator_fn": connect,
            "isolation_level": None,  # the driver begins nothing by itself
            "pragmas": pragmas,
            "timeout": BUSY_TIMEOUT_SECONDS,
        },
        hide_parameters=True,
        poolclass=NullPool,
        **options,
    )
