"""What differs between databases: how to connect, how a write begins, what their errors mean."""

from __future__ import annotations

import errno
import sqlite3
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from alembic.util import CommandError
from sqlalchemy import NullPool, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from quart_app.errors import CatalogBusy, CatalogError, CatalogUnavailable, NoSpace, QuartAppError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection, Engine

__all__ = ["reading", "translated", "writing"]

BUSY_TIMEOUT_SECONDS = 5.0

READ_PRAGMAS = ["query_only=ON"]
# WAL: readers wait for no writer. FULL: what is committed survives a loss of power.
WRITE_PRAGMAS = ["journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"]

# By primary result code, https://www.sqlite.org/rescode.html; any other is a CatalogError.
FAULTS: dict[int, type[QuartAppError]] = {
    sqlite3.SQLITE_BUSY: CatalogBusy,
    sqlite3.SQLITE_CANTOPEN: CatalogUnavailable,
    sqlite3.SQLITE_FULL: NoSpace,
    sqlite3.SQLITE_IOERR: CatalogUnavailable,
    sqlite3.SQLITE_LOCKED: CatalogBusy,
    sqlite3.SQLITE_READONLY: CatalogUnavailable,
}


def reading(path: Path) -> Engine:
    """Returns an engine without transactions: each query sees what is committed by then.

    Args:
        path: A file that an engine for writing has made.
    """
    return _sqlite(path, READ_PRAGMAS, skip_autocommit_rollback=True)


def writing(path: Path) -> Engine:
    """Returns an engine whose transactions exclude all other writers from their beginning.

    Args:
        path: A file in a directory that exists.
    """
    engine = _sqlite(path, WRITE_PRAGMAS)

    # A transaction that only turns to writing later fails at once when another one writes.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


@contextmanager
def translated() -> Iterator[None]:
    """Turns errors of SQLAlchemy, Alembic and the operating system into errors of this package.

    Raises:
        CatalogBusy: The database is locked.
        CatalogUnavailable: The database is read-only, was replaced, or cannot be opened, read or
            written.
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
    except OSError as error:
        full = error.errno in {errno.ENOSPC, errno.EDQUOT}
        raise (NoSpace if full else CatalogUnavailable) from error


def _sqlite(path: Path, pragmas: list[str], **options: Any) -> Engine:
    # `?` and `%` have a meaning in a URL, `:memory:` in a relative path.
    creator = partial(_connect, path.absolute(), pragmas)
    return create_engine(
        "sqlite://", creator=creator, hide_parameters=True, poolclass=NullPool, **options
    )


def _connect(path: Path, pragmas: list[str]) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path,
        timeout=BUSY_TIMEOUT_SECONDS,
        isolation_level=None,  # the driver begins nothing by itself
        check_same_thread=False,  # any thread may use it, but one at a time
    )
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
