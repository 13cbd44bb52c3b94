"""Database connections that outlive the calls made on them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from quart_app.catalog.engine import translated

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

__all__ = ["Connections"]

ResultT = TypeVar("ResultT")


class Connections:
    """A few connections, each opened when first needed and lent to one job at a time.

    SQLAlchemy's pool would add half the time of a job to each, and would give up the connection of
    a caller that is cancelled.

    Args:
        engine: Makes the connections.
        count: Most connections to open.
    """

    def __init__(self, engine: AsyncEngine, count: int) -> None:
        self._engine = engine
        self._count = count
        self._free: asyncio.LifoQueue[AsyncConnection | None] = asyncio.LifoQueue()
        for _ in range(count):
            self._free.put_nowait(None)

    async def run(self, job: Callable[[Connection], ResultT]) -> ResultT:
        """Runs the job to its end, even when the caller is cancelled.

        Args:
            job: Uses the connection as if it were a synchronous one. A transaction that it leaves
                open is rolled back.

        Raises:
            CatalogError: See `translated`.
            CatalogUnavailable: See `translated`.
            NoSpace: See `translated`.
        """
        return await asyncio.shield(asyncio.create_task(self._run(job)))

    async def close(self) -> None:
        """Waits for the jobs under way, then closes all connections; no job may come after."""
        with translated():
            for _ in range(self._count):
                if connection := await self._free.get():
                    await connection.close()

    async def _run(self, job: Callable[[Connection], ResultT]) -> ResultT:
        connection = await self._free.get()
        try:
            with translated():
                connection = connection or await self._engine.connect()
                return await connection.run_sync(_run, job)
        finally:
            self._free.put_nowait(connection)


def _run(connection: Connection, job: Callable[[Connection], ResultT]) -> ResultT:
    try:
        return job(connection)
    finally:
        connection.rollback()
