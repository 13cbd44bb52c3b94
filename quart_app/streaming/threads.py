"""Blocking jobs on separate executors, always awaited until they end.

The default executor of the event loop also runs DNS look-ups, so a stalled disk would block network
access too. Writes have separate threads, because reads may still work when writes stall, and
cached data needs no disk access. An accepted job uses its file descriptor until the job ends, and
the descriptor must stay open until then. Every wait here except `looked_up`
therefore continues after a cancellation. A rejected job (`Overloaded`) never runs; see `Threads`.
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

#: Maximum number of concurrent jobs per kind. Further jobs are queued, each with one piece.
THREADS = 32

#: Threads started at startup, so that the service keeps working if no more can be started.
FIRST_THREADS = 4

EXECUTOR = Threads(THREADS, "quart-app-io")

WRITING_EXECUTOR = Threads(THREADS, "quart-app-write")

#: Threads for CPU-bound jobs: one per processor, at most four. More threads would compete with the
#: event loop and with the threads for disk access for the interpreter lock.
COMPUTING_THREADS = min(4, os.cpu_count() or 1)

COMPUTING_EXECUTOR = Threads(COMPUTING_THREADS, "quart-app-cpu")

#: Maximum number of concurrent DNS look-ups. The threads of the event loops are not used: asyncio
#: may run a rejected job, and uvloop ends the process if a thread cannot be started.
LOOK_UP_THREADS = 8

LOOK_UP_EXECUTOR = Threads(LOOK_UP_THREADS, "quart-app-dns")


def start_threads() -> None:
    """Start the first threads of each executor, so that no job is rejected later.

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
    """Start a blocking job. The caller must await the future with `finished`, never directly.

    Cancelling the future would not stop the thread, and would hide that the job still runs.

    Raises:
        Overloaded: No thread can be had; the job never runs.
    """
    return asyncio.get_running_loop().run_in_executor(EXECUTOR, func, *args)


def start_writing(func: Callable[..., T], *args: Any) -> asyncio.Future[T]:
    """Start a job that writes to a disk, as `start_in_thread` does."""
    return asyncio.get_running_loop().run_in_executor(WRITING_EXECUTOR, func, *args)


async def looked_up(func: Callable[..., T], *args: Any) -> T:
    """Run a DNS look-up in a thread.

    A look-up cannot be stopped. If the caller is cancelled, the job continues in the background.

    Args:
        func: The job. It must not use resources of the caller.
        args: Arguments of `func`.

    Raises:
        Overloaded: No thread can be had; the job never runs.
    """
    return await asyncio.get_running_loop().run_in_executor(LOOK_UP_EXECUTOR, func, *args)


async def written(func: Callable[..., T], *args: Any) -> T:
    """Run a job that writes to a disk, as `in_thread` does."""
    return await finished(start_writing(func, *args))


async def in_thread(func: Callable[..., T], *args: Any) -> T:
    """Run a blocking job and wait until it ends, even if the caller is cancelled.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
        Overloaded: No thread can be had; the job never runs.
    """
    return await finished(start_in_thread(func, *args))


async def computed(func: Callable[..., T], *args: Any) -> T:
    """Run a CPU-bound job and wait until it ends, even if the caller is cancelled.

    Args:
        func: The job. It should take only milliseconds, because other jobs wait for its thread.
        args: Arguments of `func`.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
        Overloaded: No thread can be had; the job never runs.
    """
    loop = asyncio.get_running_loop()
    return await finished(loop.run_in_executor(COMPUTING_EXECUTOR, func, *args))


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine until it ends, even if the caller is cancelled.

    Use this for steps that must be completed, such as committing a row.

    Raises:
        asyncio.CancelledError: After the work has ended, when the caller was cancelled.
    """
    return await finished(asyncio.ensure_future(work))


async def finished(job: asyncio.Future[T]) -> T:
    """Wait until a job ends, even if the caller is cancelled, and return its result.

    Raises:
        asyncio.CancelledError: After the job has ended, when the caller was cancelled.
    """
    try:
        return await asyncio.shield(job)
    except asyncio.CancelledError:
        await settled(job)
        raise


async def settled(job: asyncio.Future[Any] | None) -> None:
    """Wait until a job ends, and ignore its result and its error. For clean-up code.

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
        job.exception()  # marks the error as retrieved, so that asyncio does not log it
    if cancelled is not None:
        raise cancelled
