"""Jobs that block, on executors of our own, awaited to their end.

The loop's default pool is shared with DNS look-ups, so a stalled disk there would stall the
network too. Writes have threads to themselves: a disk that takes no more can still give, and what
is cached needs no disk. A job that was accepted owns its file descriptor until it ends: nobody may
close the descriptor under it, so every wait here outlasts a cancellation. A job that was refused
(`Overloaded`) never runs; see `Threads`.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, TypeVar

from quart_app.errors import CannotStart, Overloaded
from quart_app.streaming.executor import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = [
    "THREADS",
    "computed",
    "finished",
    "in_thread",
    "looked_up",
    "settled",
    "start_in_thread",
    "start_threads",
    "start_writing",
    "uninterrupted",
    "written",
]

T = TypeVar("T")

#: Bound on jobs of one kind at once; the rest queue, each holding its one piece.
THREADS = 32

#: How many of them a service starts with, so that it works on where no more can be started.
FIRST_THREADS = 4

EXECUTOR = Threads(THREADS, "quart-app-io")

WRITING_EXECUTOR = Threads(THREADS, "quart-app-write")

#: Jobs that compute take turns on as many threads as there are processors, four at most: more of
#: them would only keep the interpreter's lock from the loop, and threads from the disk.
COMPUTING_THREADS = min(4, os.cpu_count() or 1)

COMPUTING_EXECUTOR = Threads(COMPUTING_THREADS, "quart-app-cpu")

#: Questions to name servers at once. The loops' own threads for these would not do: asyncio's may
#: run a job that was refused, and uvloop's end the process where they cannot be started.
LOOK_UP_THREADS = 8

LOOK_UP_EXECUTOR = Threads(LOOK_UP_THREADS, "quart-app-dns")


def start_threads() -> None:
    """Start the first threads of each executor: with these, no job is refused later.

    Raises:
        CannotStart: Not one thread of an executor can be started.
    """
    try:
        for executor in (EXECUTOR, WRITING_EXECUTOR):
            executor.start(FIRST_THREADS)
        for executor in (COMPUTING_EXECUTOR, LOOK_UP_EXECUTOR):
            executor.start(1)
    except Overloaded as error:
        raise CannotStart(f"cannot start threads: {error.__cause__}") from error


def start_in_thread(func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Start a blocking job now; the caller awaits it later with `finished`, and never directly.

    Cancelling the future would not stop the thread, only hide that it still runs.

    Raises:
        Overloaded: No thread can be had; the job never runs.
    """
    return asyncio.get_running_loop().run_in_executor(EXECUTOR, func, *args)


def start_writing(func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Start a job that may wait for a disk to take something, as `start_in_thread` does."""
    return asyncio.get_running_loop().run_in_executor(WRITING_EXECUTOR, func, *args)


async def looked_up(func: Callable[..., T], *args: Any) -> T:
    """Run a job that asks a name server.

    Nobody stops such a job, and it may take long; when the caller is cancelled, it runs on alone.

    Args:
        func: Uses nothing that belongs to its caller.
        args: Its arguments.

    Raises:
        Overloaded: No thread can be had; the job never runs.
    """
    return await asyncio.get_running_loop().run_in_executor(LOOK_UP_EXECUTOR, func, *args)


async def written(func: Callable[..., T], *args: Any) -> T:
    """Run a job that may wait for a disk to take something, as `in_thread` does."""
    return await finished(start_writing(func, *args))


async def in_thread(func: Callable[..., T], *args: Any) -> T:
    """Run a blocking job and wait for its end, even when cancelled meanwhile.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
        Overloaded: No thread can be had; the job never runs.
    """
    return await finished(start_in_thread(func, *args))


async def computed(func: Callable[..., T], *args: Any) -> T:
    """Run a job that computes, and wait for its end, even when cancelled meanwhile.

    Args:
        func: Is to return within some milliseconds, as others wait for its thread.
        args: Its arguments.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
        Overloaded: No thread can be had; the job never runs.
    """
    loop = asyncio.get_running_loop()
    return await finished(loop.run_in_executor(COMPUTING_EXECUTOR, func, *args))


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, even when the caller is cancelled meanwhile.

    For steps that must not be left half done, such as committing a row.

    Raises:
        asyncio.CancelledError: After the work has ended, when the caller was cancelled.
    """
    return await finished(asyncio.ensure_future(work))


async def finished(job: asyncio.Future[T]) -> T:
    """Wait for the end of a job, even when cancelled meanwhile, and give its result.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
    """
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await settled(job)
        raise


async def settled(job: asyncio.Future[Any] | None) -> None:
    """Wait until a job has ended, however it ended; for clean-up paths.

    Raises:
        asyncio.CancelledError: After it has ended, when the caller was cancelled.
    """
    cancelled: asyncio.CancelledError | None = None
    while job is not None and not job.done():
        try:
            await asyncio.wait([job])
        except asyncio.CancelledError as error:
            cancelled = error
    if job is not None and not job.cancelled():
        job.exception()  # seen: a failed job nobody waits for is no news
    if cancelled is not None:
        raise cancelled
