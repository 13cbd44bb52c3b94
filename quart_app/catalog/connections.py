"""Database connections that outlive the jobs run on them, and the threads that run these."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from quart_app.catalog.engine import translated
from quart_app.streaming import PinnedPath, Threads, finished, in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Connection, Engine

__all__ = ["Connections"]

ResultT = TypeVar("ResultT")


class Connections:
    """A few connections, each opened when first needed and lent to one job at a time.

    The threads are no others': were they those of the files, a stalled disk that holds all of them
    would stop the catalog too. SQLAlchemy's pool would add to the time of each job.

    Args:
        engine: Makes the connections.
        count: Most connections to open, and threads to start.
        database: The file of the database.
        companions: Files that SQLite keeps beside it while a connection is open.

    When a file was replaced, the jobs fail: what they wrote would be lost, and what they read may
    be out of date.

    Raises:
        Overloaded: No thread can be started.
    """

    def __init__(
        self, engine: Engine, count: int, database: PinnedPath, companions: Sequence[PinnedPath]
    ) -> None:
        self._engine = engine
        self._database = database
        self._companions = companions
        self._threads = Threads(count, "quart-app-catalog")
        self._threads.start(1)
        # As many as threads, so whichever thread runs finds one, opened or not.
        self._free: list[Connection | None] = [None] * count

    async def run(self, job: Callable[[Connection], ResultT]) -> ResultT:
        """Runs the job in a thread and waits for its end, even when cancelled.

        Args:
            job: A transaction that it leaves open is rolled back.

        Raises:
            CatalogError: See `translated`.
            CatalogUnavailable: See `translated`.
            NoSpace: See `translated`.
        """
        loop = asyncio.get_running_loop()
        return await finished(loop.run_in_executor(self._threads, self._run, job))

    async def close(self) -> None:
        """Waits for the jobs under way, then closes all connections; no job may come after."""
        await in_thread(self._close)

    def _run(self, job: Callable[[Connection], ResultT]) -> ResultT:
        connection = self._free.pop()
        try:
            with translated():
                self._verify()
                connection = connection or self._engine.connect()
                try:
                    result = job(connection)
                finally:
                    connection.rollback()
                for companion in self._companions:
                    companion.verify()  # it is there once a job has ended
                self._verify()
                return result
        finally:
            self._free.append(connection)

    def _verify(self) -> None:
        self._database.verify()
        for companion in self._companions:
            if companion.pinned:
                companion.verify()

    def _close(self) -> None:
        self._threads.shutdown()
        with translated():
            for connection in filter(None, self._free):
                connection.close()
